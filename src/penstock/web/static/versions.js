// The versions of one file: what it was before can be read, be the file again, or be deleted.
import { ask } from "./asking.js";
import { element, size } from "./elements.js";

const dialog = document.getElementById("versions");
const body = dialog.querySelector("tbody");
const heading = dialog.querySelector("h2");
const trouble = dialog.querySelector("[role=alert]");
const more = dialog.querySelector(".more");
let shown = null;   // space and path of the file that the dialog is about

const query = (extra = {}) => new URLSearchParams({ ...shown, ...extra });

async function act(url, options) {
  const { why } = await ask(url, options);
  await load();
  if (why) trouble.textContent = why;
}

function row(file, present) {
  const remove = () => confirm(`Delete this version of ${file.path} for good?`)
    && act(`/api/v1/paths?${query({ version: file.version })}`, { method: "DELETE" });
  const restore = () => act("/api/v1/paths/restore", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...shown, version: file.version }) });
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
  const { ok, status, said, why } = await ask(`/api/v1/paths/versions?${query(cursor ? { cursor } : {})}`);
  if (!ok) trouble.textContent = status === 404 ? "There is no version left." : why;
  if (!ok && status !== 404) return;   // what is shown may well be so still
  const isLeft = !cursor && body.contains(document.activeElement);   // by the keyboard, whose button goes
  if (!cursor) body.replaceChildren();
  body.append(...(said?.versions ?? []).map((file, index) => row(file, !cursor && index === 0)));
  more.hidden = !said?.next;
  more.onclick = () => load(said.next);
  if (isLeft) dialog.querySelector("form button").focus();
}

export async function showVersions({ space, path }) {
  shown = { space, path };
  heading.textContent = space === "default" ? path : `${path} in ${space}`;
  body.replaceChildren();
  dialog.showModal();
  await load();
}
