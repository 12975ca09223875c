// The order in which one reads the faces of a group: rows from the top, each from the left.

const middle = ({ box }, k) => (box[k] + box[k + 2]) / 2;
const tall = ({ box }) => box[3] - box[1];

// The number of each face, from 1, in the order in which the faces are given.
export function readingNumbers(faces) {
  const rows = [];
  for (const face of [...faces].sort((a, b) => middle(a, 1) - middle(b, 1))) {
    const row = rows.at(-1);
    const level = row && row.reduce((sum, other) => sum + middle(other, 1), 0) / row.length;
    // A face belongs to a row whose line it crosses: heads of one row differ by less than half of one.
    if (row && middle(face, 1) - level < Math.max(tall(face), Math.min(...row.map(tall))) / 2) row.push(face);
    else rows.push([face]);
  }
  const order = rows.flatMap((row) => row.sort((a, b) => middle(a, 0) - middle(b, 0)));
  return faces.map((face) => order.indexOf(face) + 1);
}
