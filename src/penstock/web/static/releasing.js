// How far a release is that copies a large file into another store.
import { element, size } from "./elements.js";

const DOING = {
  waiting: "others are before it", reading: "reading", copying: "copying", verifying: "verifying, by reading back" };

export function carried(way) {
  const shown = element("span", { className: "carried" }, element("progress", { ariaLabel: "being released" }), element("span"));
  show(shown, way);
  return shown;
}

// Tells whether there was something in the row to be changed; a way without a stage has ended.
export function showCarried(row, way) {
  const shown = row?.querySelector(".carried");
  if (!shown || !way.stage) return false;
  show(shown, way);
  return true;
}

function show(shown, way) {
  shown.querySelector("progress").value = way.fraction;
  shown.querySelector("span").textContent = `being released ${Math.floor(way.fraction * 100)} % (${DOING[way.stage] ?? way.stage})`;
  shown.title = `${size(way.done)} of ${size(way.size)}`;
}
