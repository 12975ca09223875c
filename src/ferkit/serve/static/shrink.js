// Photos are made smaller before they are sent: a phone's photo has ten times the pixels that the service looks at.

import { element } from "./dom.js";

const QUALITY = 0.92;

// Return {file, scale}: what to send, and how many pixels of the original lie in one of its. Files that the browser
// cannot open go as they are; the service may know them.
export async function shrunk(file, maxSide) {
  const whole = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (whole === null) return { file, scale: 1 };
  const { width, height } = whole;
  const scale = Math.max(width, height) / maxSide;
  if (!(scale > 1)) {
    whole.close();
    return { file, scale: 1 };
  }
  const canvas = element("canvas", { width: Math.round(width / scale), height: Math.round(height / scale) });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  return { file: new File([blob], file.name, { type: "image/jpeg" }), scale, width, height };
}

const rounded = (value) => Math.round(100 * value) / 100;

// An answer about the smaller picture, in pixels of the original.
export function unshrunk(image, { scale, width, height }) {
  if (scale === 1 || !image.width) return image;
  const faces = image.faces.map((face) => ({
    ...face,
    box: face.box.map((v) => rounded(v * scale)),
    landmarks: face.landmarks?.map(([x, y]) => [rounded(x * scale), rounded(y * scale)]) ?? null,
  }));
  return { ...image, width, height, faces };
}
