// The versions of one file: what it was before can be read, be the file again, or be deleted.
import { element, size } from "./elements.js";

const dialog = document.getElementById("versions");
const body = dialog.querySelector("tbody");
const heading = dialog.querySelector("h2");
const trouble = dialog.querySelector("[role=alert]");
const more = dialog.querySelector(".more");
let shown = null;   // space and path of the file that the dialog is about

const query = (extra = {}) => new URLSearchParams({ ...shown, ...extra });

// Tells why something was refused, in the server's words; null: it was not.
const refusal = async (answer) => (answer.ok ? null : (await answer.json().catch(() => ({}))).detail ?? answer.statusText);

async function act(request) {
  const why = await refusal(await request);
  await load();
  if (why) trouble.textContent = why;
}

function row(file, present) {
  const remove = () => confirm(`Delete this version of ${file.path} for good?`)
    && act(fetch(`/api/v1/paths?${query({ version: file.version })}`, { method: "DELETE" }));
  const restore = () => act(fetch("/api/v1/paths/restore", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...shown, version: file.version }) }));
  const made = element("tr", {},
    element("td", {}, element("a", { href: file.content, textContent: new Date(file.modified_at).toLocaleString() })),
    element("td", { className: "number", textContent: size(file.size) }),
    element("td", { textContent: present ? "the file" : "" }),
    element("td", { className: "actions" },
      present ? "" : element("button", { className: "restore", textContent: "Make current", onclick: restore }),
      element("button", { textContent: "Delete", onclick: remove })));
  made.dataset.version = file.version;
  return made;
}

async function load(cursor = null) {
  trouble.textContent = "";
  const answer = await fetch(`/api/v1/paths/versions?${query(cursor ? { cursor } : {})}`);
  const page = answer.ok ? await answer.json() : { versions: [], next: null };
  if (!answer.ok) trouble.textContent = answer.status === 404 ? "There is no version left." : await refusal(answer);
  if (!cursor) body.replaceChildren();
  body.append(...page.versions.map((file, index) => row(file, !cursor && index === 0)));
  more.hidden = !page.next;
  more.onclick = () => load(page.next);
}

export async function showVersions({ space, path }) {
  shown = { space, path };
  heading.textContent = space === "default" ? path : `${path} in ${space}`;
  body.replaceChildren();
  dialog.showModal();
  await load();
}
