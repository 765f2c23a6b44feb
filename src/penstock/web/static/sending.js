// Sends files by tus, a few at a time, and goes on where it was after each interruption.
const AT_ONCE = 4;   // a browser has six connections to a server, and one of them is for events
const FIRST_PAUSE = 500, LONGEST_PAUSE = 15000;
const CALM = 3000;   // after so many ms in which bytes go out, what stood in the way is over
const STILL = 60000, UNANSWERED = 180000;   // ms without a byte going out, or without an answer to the last one
const tus = { "Tus-Resumable": "1.0.0" };

const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const passes = (status) => !status || status >= 500 || [408, 409, 423, 425, 429].includes(status);
const gone = (status) => status === 404 || status === 410;

// Why something was refused, in the server's words.
const reason = (status, text) => {
  try {
    return JSON.parse(text).detail;
  } catch {
    return status ? `The server answered ${status}.` : "The server does not answer.";
  }
};

const pauseOf = (seconds, pause) => Math.min(Math.max(Number(seconds) * 1000 || 0, pause), LONGEST_PAUSE);

export class Sender {
  #waiting = [];
  #active = 0;

  // changed(id): look at an upload again; moved(id, share): so much of it was sent; tell(key, text, isOver): what
  // becomes of a file that is not in the list, until the same key comes with null.
  constructor({ changed, moved, tell }) {
    Object.assign(this, { changed, moved, tell });
    this.uploads = new Map();   // upload ID -> { share: of its bytes that were sent, 0 to 1, trouble: why it stands still }
  }

  // Take a file in, to a folder of the space that is named with a slash at its end; empty: to none.
  add(file, folder = "") {
    this.#enqueue(async () => {
      const url = await this.#create(file, folder);
      if (url) await this.#send(url, url.split("/").pop(), file, 0);
    });
  }

  // Send the rest of a file whose first bytes have arrived.
  goOn(upload, file) {
    this.#enqueue(() => this.#send(upload.links.tus, upload.id, file, upload.offset));
  }

  // Whether something would be cut off, or lost, if the page were closed.
  get isBusy() { return this.#active + this.#waiting.length > 0; }

  #enqueue(work) {
    this.#waiting.push(work);
    this.#next();
  }

  async #next() {
    const work = this.#active < AT_ONCE ? this.#waiting.shift() : undefined;
    const left = this.#waiting.length;
    this.tell(this, left ? `${left} more to come. They are lost if this page is closed.` : null);
    if (!work) return;
    this.#active += 1;
    try {
      await work();
    } finally {
      this.#active -= 1;
      this.#next();
    }
  }

  async #create(file, folder) {
    const type = file.type || "application/octet-stream";
    const metadata = `filename ${encoded(file.name)},filetype ${encoded(type)}${folder ? `,path ${encoded(folder)}` : ""}`;
    const headers = { ...tus, "Upload-Length": file.size, "Upload-Metadata": metadata };
    for (let pause = FIRST_PAUSE; ; pause *= 2) {
      const answer = await fetch("/uploads/", { method: "POST", headers }).catch(() => null);
      if (answer?.ok) {
        this.tell(file, null);
        return answer.headers.get("Location");
      }
      const status = answer?.status ?? 0, why = reason(status, await answer?.text().catch(() => ""));
      const isOver = !passes(status) || status === 507;   // somebody has to make room first
      this.tell(file, `${folder}${file.name}: ${why}${isOver ? "" : " Trying again."}`, isOver);
      if (isOver) return null;
      await sleep(pauseOf(answer?.headers.get("Retry-After"), pause));
    }
  }

  async #send(url, id, file, begin) {
    const state = { share: file.size ? begin / file.size : 0, trouble: "" };
    this.uploads.set(id, state);
    this.changed(id);
    for (let offset = begin, pause = FIRST_PAUSE; offset < file.size; pause *= 2) {
      const { status, why, retryAfter } = await this.#patch(url, id, offset, file.slice(offset), file.size);
      if (status === 204) break;
      if (gone(status)) break;                       // its row says what became of it
      const unread = status ? "" : await file.slice(offset, offset + 1).arrayBuffer().then(() => "", String);
      if (unread || !passes(status)) {
        this.tell(file, `${file.name}: ${unread || why}`, true);
        break;
      }
      state.trouble = `${why} Trying again.`;
      this.changed(id);
      await sleep(pauseOf(retryAfter, pause));
      const head = await fetch(url, { method: "HEAD", headers: tus }).catch(() => null);
      if (head && gone(head.status)) break;
      if (head?.ok) {
        const arrived = Number(head.headers.get("Upload-Offset"));
        if (arrived > offset) [state.trouble, pause] = ["", FIRST_PAUSE];
        offset = arrived;
      }
    }
    this.uploads.delete(id);
    this.changed(id);
  }

  #patch(url, id, offset, body, size) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();   // fetch cannot tell how much of a body was sent
      const state = this.uploads.get(id), began = performance.now();
      request.open("PATCH", url);
      const headers = { ...tus, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      // A line that is dead without a word is noticed by browsers after a quarter of an hour.
      let patience = null;
      const wait = (ms) => { clearTimeout(patience); patience = setTimeout(() => request.abort(), ms); };
      wait(STILL);
      request.upload.onload = () => wait(UNANSWERED);
      request.upload.onprogress = (event) => {
        wait(STILL);
        state.share = (offset + event.loaded) / size;
        this.moved(id, state.share);
        if (state.trouble && performance.now() - began > CALM) {
          state.trouble = "";
          this.changed(id);
        }
      };
      request.onloadend = () => {
        clearTimeout(patience);
        resolve({
          status: request.status,
          why: reason(request.status, request.responseText),
          retryAfter: request.getResponseHeader("Retry-After"),
        });
      };
      request.send(body);
    });
  }
}

// The files of what was dropped, each with its folder; folders are gone through.
export async function* filesIn(entries, folder = "") {
  for (const entry of entries) {
    if (entry instanceof File) {
      yield [entry, folder];
      continue;
    }
    if (entry.isFile) {
      yield [await new Promise((resolve, reject) => entry.file(resolve, reject)), folder];
      continue;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) break;
      yield* filesIn(some, `${folder}${entry.name}/`);
    }
  }
}
