// Asks the server and never throws, so that whoever clicked is always told. `ok`, the `status` (0: nobody answered),
// `said`: the JSON that came, or null; `why`: in words, if it is not ok.
export async function ask(url, options) {
  const answer = await fetch(url, options).catch(() => null);
  const said = await answer?.json().catch(() => null) ?? null;
  const status = answer?.status ?? 0;
  const ok = Boolean(answer?.ok) && (status === 204 || said != null);
  const bare = ok ? "" : !status ? "The server does not answer." : answer.ok ? "The answer broke off." : `The server answered ${status}.`;
  return { ok, status, said, why: ok ? "" : said?.detail ?? bare };
}
