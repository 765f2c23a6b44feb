// Uploads by tus, and a list that follows the server's event stream. No state is kept here: a reload shows the same.
import { element, size } from "./elements.js";
import { showVersions } from "./versions.js";

const list = document.getElementById("uploads");
const rows = new Map();      // upload ID -> its row
const sending = new Map();   // upload ID -> share of the bytes that this page has sent, 0 to 1

// What the virus scanner said, with who looked and how far: for whom the word "released" is not enough.
const scanned = (scan) => scan && scan.end
  ? [scan.end, scan.signature, scan.engine_version, scan.database_version && `signatures ${scan.database_version}`,
    `${size(scan.bytes_scanned)} scanned`, `${scan.duration_seconds.toFixed(2)} s`].filter(Boolean).join(" · ")
  : "";

function render(upload) {
  const run = upload.processing;
  const unfinished = upload.phase === "receiving" && !sending.has(upload.id);
  const share = sending.get(upload.id) ?? (unfinished && upload.size ? upload.offset / upload.size : run ? run.fraction : null);
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
    element("td", {}, share != null && upload.phase in { receiving: 1, processing: 1 }
      ? element("progress", { value: share, title: `${Math.round(share * 100)} %` }) : remark + again || scanned(upload.scan)),
    element("td", { className: "actions" }, ...(unfinished ? continuing(upload) : []),
      upload.phase === "released" ? element("button", {
        className: "versions", textContent: "Versions", title: `What ${upload.path} was before`,
        onclick: async () => showVersions(await (await fetch(upload.links.self)).json()) }) : "",
      action ? element("button", {
        textContent: action, onclick: () => fetch(upload.links.self, { method: "DELETE" }) }) : ""),
  ];
  const row = element("tr", { id: `upload-${upload.id}` }, ...cells);
  row.dataset.phase = upload.phase;
  const old = rows.get(upload.id);
  if (old) old.replaceWith(row); else list.prepend(row);
  rows.set(upload.id, row);
  document.getElementById("empty").hidden = rows.size > 0;
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
  const upload = await (await fetch(`/api/v1/uploads/${id}`)).json();
  if (upload.phase !== "receiving") return refresh(id);
  if (file.size !== upload.size) {
    return alert(`${file.name} has ${file.size} bytes, and ${upload.filename} is to have ${upload.size}: it is another file.`);
  }
  if (upload.offset && upload.offset <= HASHED && window.crypto.subtle) {
    const arrived = await (await fetch(`${upload.links.self}/digest`)).json();
    const bytes = await file.slice(0, arrived.offset).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== arrived.sha256) return alert(`${file.name} does not begin with what has arrived: it is another file.`);
  } else if (upload.offset && file.name !== upload.filename
    && !confirm(`${upload.filename} was begun. Is ${file.name} the same file?`)) return;
  await send(upload.links.tus, upload.id, file, upload.offset);
}

const ACTIONS = { receiving: "Cancel", processing: "Cancel", released: "Delete", rejected: "Delete" };

// How much is left, where there is a quota; where there is none, that is asked once.
let usageDue = null;
function usageChanged() {
  if (!usageDue && document.getElementById("usage")?.hasChildNodes()) usageDue = setTimeout(showUsage, 300);
}
async function showUsage() {
  usageDue = null;
  const answer = await fetch("/api/v1/usage/mine");
  const limited = answer.ok ? (await answer.json()).usage.filter((one) => one.limit != null) : [];
  document.getElementById("usage").replaceChildren(...limited.map((one) => {
    const whose = one.kind === "instance" ? "All files" : one.name ? `${one.kind} ${one.name}` : "Users without a name";
    const taken = one.used + one.reserved;
    const text = `${whose}: ${size(one.used)} used, ${size(one.reserved)} reserved, ${size(one.free)} of ${size(one.limit)} free`;
    return element("p", {}, element("meter", {
      min: 0, max: Math.max(one.limit, 1), high: one.limit * 0.9, value: taken, title: text }), ` ${text}`);
  }));
}

const waiting = new Set();
async function refresh(id) {
  if (waiting.has(id)) return;           // one request per upload at a time; events come in bursts
  waiting.add(id);
  await new Promise((resolve) => setTimeout(resolve, 100));
  waiting.delete(id);
  usageChanged();
  const answer = await fetch(`/api/v1/uploads/${id}`);
  if (answer.ok) return render(await answer.json());
  rows.get(id)?.remove();
  rows.delete(id);
}

async function follow() {
  const answer = await fetch("/api/v1/uploads?limit=100");
  (await answer.json()).uploads.reverse().forEach(render);
  const mine = await fetch("/api/v1/uploads?unfinished=true&mine=true&limit=100");
  if (mine.ok) (await mine.json()).uploads.reverse().filter((upload) => !rows.has(upload.id)).forEach(render);
  showUsage();
  const events = new EventSource("/api/v1/events");
  const status = document.getElementById("connection");
  events.onopen = () => { status.textContent = "live"; };
  events.onerror = () => { status.textContent = "connection lost, trying again …"; };
  for (const kind of ["created", "received", "step_started", "step_finished", "retry", "decided", "released",
    "rejected", "deleted", "cancelled", "expired", "restarted"]) {
    events.addEventListener(kind, (event) => refresh(JSON.parse(event.data).upload));
  }
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

const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
const tus = { "Tus-Resumable": "1.0.0" };

function patch(url, offset, body, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();   // fetch cannot tell how much of a body was sent
    request.open("PATCH", url);
    for (const [name, value] of Object.entries({
      ...tus, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" })) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => progress(offset + event.loaded);
    request.onload = () => (request.status === 204 ? resolve() : reject(request));
    request.onerror = () => reject(request);
    request.send(body);
  });
}

async function upload(file) {
  const metadata = `filename ${encoded(file.name)},filetype ${encoded(file.type || "application/octet-stream")}`;
  const created = await fetch("/uploads/", {
    method: "POST", headers: { ...tus, "Upload-Length": file.size, "Upload-Metadata": metadata } });
  if (!created.ok) return alert((await created.json()).detail);
  const url = created.headers.get("Location");
  await send(url, url.split("/").pop(), file, 0);
}

async function send(url, id, file, begin) {
  sending.set(id, file.size ? begin / file.size : 0);
  refresh(id);
  const show = (sent) => {
    sending.set(id, sent / file.size);
    rows.get(id)?.querySelector("progress")?.setAttribute("value", sent / file.size);
  };
  for (let offset = begin, pause = 500; offset < file.size;) {
    try {
      await patch(url, offset, file.slice(offset), show);
      offset = file.size;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(pause * 2, 15000);
      const head = await fetch(url, { method: "HEAD", headers: tus }).catch(() => null);
      if (head && !head.ok && head.status < 500) break;      // gone: cancelled, expired or refused
      if (head && head.ok) offset = Number(head.headers.get("Upload-Offset"));
    }
  }
  sending.delete(id);
  refresh(id);
}

const drop = document.getElementById("drop");
const pick = document.getElementById("pick");
drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  [...event.dataTransfer.files].forEach(upload);
};
pick.onchange = () => { [...pick.files].forEach(upload); pick.value = ""; };
follow();
examine();
