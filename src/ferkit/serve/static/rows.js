// Rows of `ferkit video`, read back.

// Return the cells of CSV text, rows of strings. Quotes as RFC 4180 has them.
export function parseCsv(text) {
  const rows = [];
  let row = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    if (end === "" && quoted === undefined && plain === "" && row.length === 0) break;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

// Return everybody in the rows, by number: times, and an answer for each.
export function answersOf([head, ...rows], labels) {
  const at = Object.fromEntries(head.map((name, n) => [name, n]));
  const people = new Map();
  for (const row of rows) {
    const id = row[at.track_id];
    if (!id) continue; // a frame without faces
    if (!people.has(id)) people.set(id, { id: Number(id), times: [], answers: [] });
    const probabilities = Object.fromEntries(labels.map((name) => [name, Number(row[at[name]])]));
    const [label, confidence] = Object.entries(probabilities).reduce((top, entry) => (entry[1] > top[1] ? entry : top));
    people.get(id).times.push(Number(row[at.time_s]));
    people.get(id).answers.push({ label, confidence, probabilities });
  }
  return [...people.values()].sort((a, b) => a.id - b.id);
}
