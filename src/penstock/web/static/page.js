// Uploads by tus, and a list that follows the server's event stream. No state is kept here: a reload shows the same.
import { ask } from "./asking.js";
import { element, size } from "./elements.js";
import { Sender, filesIn } from "./sending.js";
import { carried, showCarried } from "./releasing.js";
import { showVersions } from "./versions.js";

const list = document.getElementById("uploads"), empty = document.getElementById("empty");
const usage = document.getElementById("usage"), pick = document.getElementById("pick");
const rows = new Map();      // upload ID -> its row
const sender = new Sender({ changed, moved, tell });

// What the virus scanner said, with who looked and how far: for whom the word "released" is not enough.
const scanned = (scan) => scan && scan.end
  ? [scan.end, scan.signature, scan.engine_version, scan.database_version && `signatures ${scan.database_version}`,
    `${size(scan.bytes_scanned)} scanned`, `${scan.duration_seconds.toFixed(2)} s`].filter(Boolean).join(" · ")
  : "";

function render(upload, isOlder = false) {
  const run = upload.processing, sent = sender.uploads.get(upload.id);
  const unfinished = upload.phase === "receiving" && !sent;
  const way = upload.releasing;
  const share = sent?.share ?? (unfinished && upload.size ? upload.offset / upload.size : run ? run.fraction : null);
  const name = upload.phase === "released"
    ? element("a", { href: upload.links.content, textContent: upload.path })
    : upload.path;
  const remark = upload.reason || (run && run.last_error) || "";
  const at = run && run.next_try_at && new Date(run.next_try_at).toLocaleTimeString();
  const again = at ? (run.state === "delay" ? ` Until ${at}.` : ` Next try ${at}.`) : "";
  const phase = element("span", {
    className: `phase ${upload.phase}`, textContent: upload.phase, title: scanned(upload.scan) });
  const action = ACTIONS[upload.phase];
  const cells = [
    element("td", { className: "name" }, name),
    element("td", { className: "number", textContent: size(upload.size) }),
    element("td", {}, phase),
    element("td", { textContent: run ? run.step + (run.stalled ? " (stalled)" : "") : "" }),
    element("td", { className: "number", textContent: run ? run.attempt : "" }),
    element("td", {}, way ? carried(way) : share != null && upload.phase in { receiving: 1, processing: 1 }
      ? element("progress", { value: share, title: `${Math.floor(share * 100)} %` }) : remark + again || scanned(upload.scan),
    ...(sent?.trouble ? [element("span", { className: "trouble", textContent: sent.trouble })] : [])),
    element("td", { className: "actions" }, ...(unfinished ? continuing(upload) : []),
      upload.phase === "released" ? element("button", {
        className: "versions", textContent: "Versions", title: `What ${upload.path} was before`,
        onclick: async () => {
          const { ok, said, why } = await ask(upload.links.self);   // it may have been moved meanwhile
          if (ok) showVersions(said); else alert(`${upload.path}: ${why}`);
        } }) : "",
      action ? element("button", {
        textContent: action, ariaLabel: `${action} ${upload.path}`, onclick: () => remove(upload, action) }) : ""),
  ];
  const row = element("tr", { id: `upload-${upload.id}` }, ...cells);
  row.dataset.phase = upload.phase;
  row.upload = upload;
  const old = rows.get(upload.id), focused = old?.contains(document.activeElement) ? document.activeElement : null;
  if (old) old.replaceWith(row); else if (isOlder) list.append(row); else list.prepend(row);
  if (focused) focusIn(row, focused.textContent);
  rows.set(upload.id, row);
  empty.hidden = rows.size > 0;
}

// Who works with the keyboard goes on where they were, though the row is another one now.
function focusIn(row, text) {
  const places = [...row?.querySelectorAll("a, button") ?? []];
  (places.find((place) => place.textContent === text) ?? places.at(-1) ?? pick).focus();
}

function forget(id) {
  const row = rows.get(id);
  if (row?.contains(document.activeElement)) focusIn(row.nextElementSibling ?? row.previousElementSibling);
  row?.remove();
  rows.delete(id);
  empty.hidden = rows.size > 0;
}

// What another page, or this one before a reload, has begun: whoever picks the same file again goes on with it.
function continuing(upload) {
  if (upload.part || upload.made_of.length || upload.ends_when_told || upload.size == null || upload.expired) return [];
  const until = upload.expires_at ? ` It can be continued until ${new Date(upload.expires_at).toLocaleString()}.` : "";
  const pick = element("input", { type: "file", hidden: true });
  pick.onchange = () => { if (pick.files.length) resume(upload, pick.files[0]); pick.value = ""; };
  return [pick, element("button", {
    className: "continue", textContent: "Continue …", onclick: () => pick.click(),
    title: `${size(upload.offset)} have arrived. Pick the file again to send the rest.${until}` })];
}

const HASHED = 256 * 1024 ** 2;   // what is read into memory to see whether it is the same file

async function resume({ id }, file) {
  const { ok, said: upload, why } = await ask(`/api/v1/uploads/${id}`);
  if (!ok) return alert(`${file.name} cannot be gone on with: ${why}`);
  if (upload.phase !== "receiving") return refresh(id);
  if (file.size !== upload.size) {
    return alert(`${file.name} has ${file.size} bytes, and ${upload.filename} is to have ${upload.size}: it is another file.`);
  }
  if (upload.offset && upload.offset <= HASHED && window.crypto.subtle) {
    const { ok: isKnown, said: arrived, why } = await ask(`${upload.links.self}/digest`);
    const bytes = isKnown && await file.slice(0, arrived.offset).arrayBuffer().catch(() => null);
    if (!bytes) return alert(`${file.name} cannot be gone on with: ${why || "it cannot be read."}`);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== arrived.sha256) return alert(`${file.name} does not begin with what has arrived: it is another file.`);
  } else if (upload.offset && file.name !== upload.filename
    && !confirm(`${upload.filename} was begun. Is ${file.name} the same file?`)) return;
  sender.goOn(upload, file);
}

const ACTIONS = {
  receiving: "Cancel", processing: "Cancel", released: "Delete", rejected: "Delete",
  deleted: "Dismiss", cancelled: "Dismiss", expired: "Dismiss" };

async function remove(upload, action) {
  if (action === "Delete" && !confirm(`Delete ${upload.path} for good?`)) return;
  const [url, method] = action === "Dismiss" ? [`${upload.links.self}/acknowledge`, "POST"] : [upload.links.self, "DELETE"];
  const { ok, status, why } = await ask(url, { method });
  // What is not there any more was removed elsewhere meanwhile. Events would tell, but nobody may hear them just now.
  if (ok || status === 404) return refresh(upload.id);
  alert(`${upload.path} is still there: ${why}`);
}

// How much is left, where there is a quota; where there is none, that is asked once.
let usageDue = null;
function usageChanged() {
  if (!usageDue && usage.hasChildNodes()) usageDue = setTimeout(showUsage, 300);
}
async function showUsage() {
  usageDue = null;
  const { ok, said } = await ask("/api/v1/usage/mine");
  if (!ok) return;
  const limited = said.usage.filter((one) => one.limit != null);
  usage.replaceChildren(...limited.map((one) => {
    const whose = one.kind === "instance" ? "All files" : one.name ? `${one.kind} ${one.name}` : "Users without a name";
    const taken = one.used + one.reserved;
    const text = `${whose}: ${size(one.used)} used, ${size(one.reserved)} reserved, ${size(one.free)} of ${size(one.limit)} free`;
    return element("p", {}, element("meter", {
      min: 0, max: Math.max(one.limit, 1), high: one.limit * 0.9, value: taken, title: text }), ` ${text}`);
  }));
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const AGAIN = 2000;             // ms until the server is asked again that did not answer
const waiting = new Map();      // upload ID that is being asked for -> whether it has changed meanwhile
const asked = new Set();        // those that were asked for since the list was
async function refresh(id) {
  asked.add(id);
  if (waiting.has(id)) return waiting.set(id, true);   // one request per upload at a time; events come in bursts
  do {
    waiting.set(id, false);
    await sleep(100);
    usageChanged();
    const answer = await fetch(`/api/v1/uploads/${id}`).catch(() => null);
    const upload = answer?.ok ? await answer.json().catch(() => null) : null;
    if (upload) {
      render(upload);
    } else if (answer?.status === 404) {
      forget(id);
    } else {                    // nobody knows: its row stays as it is until somebody does
      waiting.set(id, true);
      await sleep(AGAIN);
    }
  } while (waiting.get(id));
  waiting.delete(id);
}

const older = document.getElementById("older");
function offerOlder(cursor) {
  older.hidden = !cursor;
  older.onclick = async () => {
    const { ok, said: page, why } = await ask(`/api/v1/uploads?${new URLSearchParams({ limit: 100, cursor })}`);
    if (!ok) return alert(`Older ones cannot be shown: ${why}`);
    page.uploads.filter((upload) => !rows.has(upload.id)).forEach((upload) => render(upload, true));
    offerOlder(page.next);
  };
}

// What is there. Events tell only what happens from now on, so it is asked for whenever their stream begins anew.
async function load() {
  asked.clear();
  const newest = await (await fetch("/api/v1/uploads?limit=100")).json();
  const isGap = !newest.uploads.some((upload) => rows.has(upload.id));
  newest.uploads.reverse().filter((upload) => !asked.has(upload.id)).forEach((upload) => render(upload));
  if (isGap) offerOlder(newest.next);
  const listed = new Set(newest.uploads.map((upload) => upload.id));
  rows.forEach((row, id) => { if (!listed.has(id) && row.dataset.phase in { receiving: 1, processing: 1 }) refresh(id); });
  const mine = await fetch("/api/v1/uploads?unfinished=true&mine=true&limit=100");
  if (mine.ok) (await mine.json()).uploads.reverse().filter((upload) => !rows.has(upload.id)).forEach((upload) => render(upload));
  showUsage();
}

const KINDS = ["created", "received", "step_started", "step_finished", "retry", "decided", "released", "rejected",
  "deleted", "cancelled", "expired", "restarted"];
function follow() {
  const events = new EventSource("/api/v1/events");
  const status = document.getElementById("connection");
  const lost = () => {
    status.textContent = "connection lost, trying again …";
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);   // browsers give up at a proxy's 502
  };
  events.onopen = () => load().then(() => { status.textContent = "live"; }, () => { events.close(); lost(); });
  events.onerror = lost;
  for (const kind of KINDS) events.addEventListener(kind, (event) => refresh(JSON.parse(event.data).upload));
  events.addEventListener("releasing", (event) => {
    const way = JSON.parse(event.data);
    if (!showCarried(rows.get(way.upload), way)) refresh(way.upload);
  });
}

// What `penstock doctor` would say of the server is not well, such as a scanner that is away.
async function examine() {
  const answer = await fetch("/api/v1/doctor").catch(() => null);
  if (answer?.ok) {
    const wrong = (await answer.json()).checks.filter((check) => !check.ok);
    const troubles = document.getElementById("troubles");
    troubles.replaceChildren(...wrong.map((check) => element("li", {},
      element("strong", { textContent: check.name }), ` ${check.detail} ${check.hint}`)));
    troubles.hidden = !wrong.length;
  }
  setTimeout(examine, 5000);
}

// A server that is away cannot be asked, and that is just what its row is to say then.
function changed(id) {
  const row = rows.get(id);
  if (row) render(row.upload);
  refresh(id);
}

function moved(id, share) {
  rows.get(id)?.querySelector("progress")?.setAttribute("value", share);
}

// What becomes of files that are in no row: they wait for their turn or the server, or it does not take them.
const notices = new Map();   // what it is about -> its line
function tell(key, text, isOver = false) {
  notices.get(key)?.remove();
  notices.delete(key);
  if (text == null) return;
  const line = element("li", {}, text);
  if (isOver) line.append(" ", element("button", { textContent: "Dismiss", onclick: () => tell(key, null) }));
  notices.set(key, line);
  document.getElementById("notices").append(line);
}

addEventListener("beforeunload", (event) => { if (sender.isBusy) event.preventDefault(); });

// Files may be dropped anywhere: a browser would leave the page, and all that is being sent, for one that misses the box.
const drop = document.getElementById("drop");
const pickFolder = document.getElementById("pick-folder");
addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", async (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.remove("over");
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());   // before anything is awaited
  try {
    for await (const [file, folder] of filesIn(entries)) sender.add(file, folder);
  } catch (error) {
    tell(event, `Something of it cannot be read: ${error.message}`, true);
  }
});
pick.onchange = () => { [...pick.files].forEach((file) => sender.add(file)); pick.value = ""; };
pickFolder.onchange = () => {
  [...pickFolder.files].forEach((file) => sender.add(file, file.webkitRelativePath.slice(0, -file.name.length)));
  pickFolder.value = "";
};
follow();
examine();
