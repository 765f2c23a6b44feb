// Uploads by tus, and a list that follows the server's event stream. No state is kept here: a reload shows the same.
const list = document.getElementById("uploads");
const rows = new Map();      // upload ID -> its row
const sending = new Map();   // upload ID -> share of the bytes that this page has sent, 0 to 1

const size = (bytes) => {
  if (bytes == null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes ? Math.min(Math.floor(Math.log2(bytes) / 10), 4) : 0;
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
};

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// What the virus scanner said, with who looked and how far: for whom the word "released" is not enough.
const scanned = (scan) => scan && scan.end
  ? [scan.end, scan.signature, scan.engine_version, scan.database_version && `signatures ${scan.database_version}`,
    `${size(scan.bytes_scanned)} scanned`, `${scan.duration_seconds.toFixed(2)} s`].filter(Boolean).join(" · ")
  : "";

function render(upload) {
  const run = upload.processing;
  const share = sending.get(upload.id) ?? (run ? run.fraction : null);
  const name = upload.phase === "released"
    ? element("a", { href: upload.links.content, textContent: upload.filename })
    : upload.filename;
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
    element("td", {}, action ? element("button", {
      textContent: action, onclick: () => fetch(upload.links.self, { method: "DELETE" }) }) : ""),
  ];
  const row = element("tr", { id: `upload-${upload.id}` }, ...cells);
  row.dataset.phase = upload.phase;
  const old = rows.get(upload.id);
  if (old) old.replaceWith(row); else list.prepend(row);
  rows.set(upload.id, row);
  document.getElementById("empty").hidden = rows.size > 0;
}

const ACTIONS = { receiving: "Cancel", processing: "Cancel", released: "Delete", rejected: "Delete" };

const waiting = new Set();
async function refresh(id) {
  if (waiting.has(id)) return;           // one request per upload at a time; events come in bursts
  waiting.add(id);
  await new Promise((resolve) => setTimeout(resolve, 100));
  waiting.delete(id);
  const answer = await fetch(`/api/v1/uploads/${id}`);
  if (answer.ok) return render(await answer.json());
  rows.get(id)?.remove();
  rows.delete(id);
}

async function follow() {
  const answer = await fetch("/api/v1/uploads?limit=100");
  (await answer.json()).uploads.reverse().forEach(render);
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
  const id = url.split("/").pop();
  const show = (sent) => {
    sending.set(id, sent / file.size);
    rows.get(id)?.querySelector("progress")?.setAttribute("value", sent / file.size);
  };
  for (let offset = 0, pause = 500; offset < file.size;) {
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
