// Examples to try: a public-domain portrait by NASA, and a group that is made of it, so that nobody's face is needed.

import { $, element, say } from "./dom.js";

const PORTRAIT = "static/astronaut.jpg";

async function portrait() {
  const response = await fetch(PORTRAIT);
  if (!response.ok) throw new Error("The example could not be loaded.");
  return response.blob();
}

async function group(columns = 4, rows = 2) {
  const face = await createImageBitmap(await portrait());
  const side = 260;
  const canvas = element("canvas", { width: columns * side, height: rows * side });
  const pen = canvas.getContext("2d");
  for (let n = 0; n < columns * rows; n += 1) {
    const [x, y] = [(n % columns) * side, Math.floor(n / columns) * side];
    pen.save();
    pen.translate(x + side / 2, y + side / 2);
    pen.rotate((n % 3) * 0.08 - 0.08);
    pen.scale(n % 2 ? -1 : 1, 1);
    pen.filter = `brightness(${0.8 + 0.08 * n})`;
    pen.drawImage(face, -side / 2, -side / 2, side, side);
    pen.restore();
  }
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

export function wireExamples(addFiles) {
  const give = (make, name) => async () => {
    try {
      addFiles([new File([await make()], name, { type: "image/jpeg" })]);
    } catch (error) {
      say(error.message, true);
    }
  };
  $("example-one").addEventListener("click", give(portrait, "astronaut.jpg"));
  $("example-group").addEventListener("click", give(group, "group.jpg"));
}
