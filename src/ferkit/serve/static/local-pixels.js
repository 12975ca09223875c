// Pictures as plain arrays, {width, height, channels, data}, treated as OpenCV treats them in the package: the same
// formulas and the same rounding, so that the networks see the same pixels.

// To the nearest whole number, halves to the even one, as Python and OpenCV round.
export function rint(value) {
  const low = Math.floor(value);
  const part = value - low;
  if (part < 0.5) return low;
  if (part > 0.5) return low + 1;
  return low % 2 === 0 ? low : low + 1;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export function picture(width, height, channels) {
  return { width, height, channels, data: new Uint8Array(width * height * channels) };
}

// RGBA of a canvas, opaque, as RGB.
export function fromCanvas({ width, height, data }) {
  const out = picture(width, height, 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    out.data[to] = data[from];
    out.data[to + 1] = data[from + 1];
    out.data[to + 2] = data[from + 2];
  }
  return out;
}

export function upsideDown({ width, height, channels, data }) {
  const out = picture(width, height, channels);
  for (let pixel = width * height - 1, to = 0; pixel >= 0; pixel -= 1, to += channels) {
    for (let c = 0; c < channels; c += 1) out.data[to + c] = data[pixel * channels + c];
  }
  return out;
}

// A picture turned back, counter-clockwise, by 0, 90, 180 or 270 degrees.
export function turnedBack(image, turn) {
  if (turn === 0) return image;
  if (turn === 180) return upsideDown(image);
  const { width, height, channels, data } = image;
  const out = picture(height, width, channels);
  for (let y = 0, from = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, from += channels) {
      const to = (turn === 90 ? (width - 1 - x) * height + y : x * height + height - 1 - y) * channels;
      for (let c = 0; c < channels; c += 1) out.data[to + c] = data[from + c];
    }
  }
  return out;
}

// Where a point of a picture of `width` x `height` lies once that is turned back.
export function pointTurnedBack([x, y], turn, width, height) {
  return turn === 0 ? [x, y] : turn === 90 ? [y, width - x] : turn === 180 ? [width - x, height - y] : [height - y, x];
}

export function boxTurnedBack([x1, y1, x2, y2], turn, width, height) {
  const [[ax, ay], [bx, by]] = [pointTurnedBack([x1, y1], turn, width, height), pointTurnedBack([x2, y2], turn, width, height)];
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}

export function mirrored({ width, height, channels, data }) {
  const out = picture(width, height, channels);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      for (let c = 0; c < channels; c += 1) out.data[(y * width + x) * channels + c] = data[(y * width + width - 1 - x) * channels + c];
    }
  }
  return out;
}

// ITU-R 601 luma, with OpenCV's 15 bits.
export function grey({ width, height, channels, data }) {
  const out = picture(width, height, 1);
  for (let from = 0, to = 0; to < out.data.length; from += channels, to += 1) {
    out.data[to] = (data[from] * 9798 + data[from + 1] * 19235 + data[from + 2] * 3735 + (1 << 14)) >> 15;
  }
  return out;
}

// A window of whole pixels; outside the picture the nearest pixel is repeated.
export function cut(image, left, top, width, height) {
  const { channels } = image;
  const out = picture(width, height, channels);
  for (let y = 0; y < height; y += 1) {
    const row = clamp(top + y, 0, image.height - 1) * image.width;
    for (let x = 0; x < width; x += 1) {
      const from = (row + clamp(left + x, 0, image.width - 1)) * channels;
      for (let c = 0; c < channels; c += 1) out.data[(y * width + x) * channels + c] = image.data[from + c];
    }
  }
  return out;
}

// OpenCV computes with 32 bits here, and a different last bit can tip a value over to the next whole number.
const f = Math.fround;

// For each new pixel of a line: which old ones it covers, and how much of each.
function coverage(from, to) {
  const scale = 1 / (to / from);
  return Array.from({ length: to }, (_, n) => {
    const [begin, end] = [n * scale, n * scale + scale];
    const whole = Math.min(scale, from - begin);
    const last = Math.min(Math.floor(end), from - 1);
    const first = Math.min(Math.ceil(begin), last);
    const parts = [];
    if (first - begin > 1e-3) parts.push([first - 1, f((first - begin) / whole)]);
    for (let k = first; k < last; k += 1) parts.push([k, f(1 / whole)]);
    if (end - last > 1e-3) parts.push([last, f(Math.min(Math.min(end - last, 1), whole) / whole)]);
    return parts;
  });
}

// Whole numbers of pixels: their sum, rounded once.
function shrinkEvenly(image, width, height) {
  const { channels, data } = image;
  const [across, down] = [image.width / width, image.height / height];
  const share = f(1 / (across * down));
  const out = picture(width, height, channels);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      for (let c = 0; c < channels; c += 1) {
        let sum = 0;
        for (let row = 0; row < down; row += 1) {
          for (let column = 0; column < across; column += 1) sum += data[((y * down + row) * image.width + x * across + column) * channels + c];
        }
        out.data[(y * width + x) * channels + c] = across === 2 && down === 2 ? (sum + 2) >> 2 : rint(f(sum * share));
      }
    }
  }
  return out;
}

function shrink(image, width, height) {
  if (image.width % width === 0 && image.height % height === 0) return shrinkEvenly(image, width, height);
  const { channels, data } = image;
  const [across, down] = [flat(coverage(image.width, width)), coverage(image.height, height)];
  const out = picture(width, height, channels);
  const [line, sum] = [new Float32Array(width * channels), new Float32Array(width * channels)];
  for (let y = 0; y < height; y += 1) {
    sum.fill(0);
    for (const [row, part] of down[y]) {
      averaged(data.subarray(row * image.width * channels, (row + 1) * image.width * channels), channels, across, line);
      for (let n = 0; n < sum.length; n += 1) sum[n] += f(part * line[n]);
    }
    for (let n = 0; n < sum.length; n += 1) out.data[y * sum.length + n] = rint(sum[n]);
  }
  return out;
}

// Coverage in plain arrays, which a browser goes through several times faster: the parts of pixel n are starts[n] to starts[n + 1].
function flat(parts) {
  const all = parts.flat();
  const starts = Int32Array.from([0, ...parts.map(((count) => (own) => (count += own.length))(0))]);
  return { starts, columns: Int32Array.from(all, ([column]) => column), shares: Float32Array.from(all, ([, share]) => share) };
}

function averaged(row, channels, { starts, columns, shares }, line) {
  for (let x = 0, to = 0; x < starts.length - 1; x += 1) {
    for (let c = 0; c < channels; c += 1, to += 1) {
      let sum = 0;
      for (let k = starts[x]; k < starts[x + 1]; k += 1) sum = f(sum + f(shares[k] * row[columns[k] * channels + c]));
      line[to] = sum;
    }
  }
}

// For each new pixel of a line: its two neighbours, and their weights in 1/2048.
// Beyond the edges it is the last pixel twice; `whole`: with all the weight on one, as OpenCV has it across but not down.
function neighbours(from, to, whole) {
  const scale = 1 / (to / from);
  return Array.from({ length: to }, (_, n) => {
    const at = f((n + 0.5) * scale - 0.5);
    let [low, part] = [Math.floor(at), f(at - Math.floor(at))];
    if (whole && low < 0) [low, part] = [0, 0];
    if (whole && low >= from - 1) [low, part] = [from - 1, 0];
    return [clamp(low, 0, from - 1), clamp(low + 1, 0, from - 1), rint(f(f(1 - part) * 2048)), rint(f(part * 2048))];
  });
}

function enlarge(image, width, height) {
  const { channels, data } = image;
  const [across, down] = [neighbours(image.width, width, true), neighbours(image.height, height, false)];
  const lines = new Map();
  const lineOf = (row) => {
    if (!lines.has(row)) {
      const line = new Int32Array(width * channels);
      const start = row * image.width;
      for (let x = 0; x < width; x += 1) {
        const [a, b, first, second] = across[x];
        for (let c = 0; c < channels; c += 1) {
          line[x * channels + c] = data[(start + a) * channels + c] * first + data[(start + b) * channels + c] * second;
        }
      }
      if (lines.size > 2) lines.clear();
      lines.set(row, line);
    }
    return lines.get(row);
  };
  const out = picture(width, height, channels);
  for (let y = 0; y < height; y += 1) {
    const [a, b, first, second] = down[y];
    const [upper, lower] = [lineOf(a), lineOf(b)];
    for (let n = 0; n < upper.length; n += 1) {
      const sum = ((first * (upper[n] >> 4)) >> 16) + ((second * (lower[n] >> 4)) >> 16);
      out.data[y * upper.length + n] = clamp((sum + 2) >> 2, 0, 255);
    }
  }
  return out;
}

// Areas are averaged where `area` says so, else pixels are interpolated.
export function resize(image, width, height, area) {
  if (image.width === width && image.height === height) return image;
  return area && image.width >= width && image.height >= height ? shrink(image, width, height) : enlarge(image, width, height);
}

// Turn, scale and shift: `matrix` (2x3, by rows) maps the picture's pixels to the new ones'. Edges repeat.
export function warp(image, [a, b, tx, c, d, ty], side) {
  const { channels, data, width, height } = image;
  const det = 1 / (a * d - b * c);
  const exact = [d * det, -b * det, -c * det, a * det];
  const [ix, iy] = [f(-exact[0] * tx - exact[1] * ty), f(-exact[2] * tx - exact[3] * ty)];
  const [ia, ib, ic, id] = exact.map(f);
  const out = picture(side, side, channels);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const [sx, sy] = [f(ia * x + f(ib * y + ix)), f(ic * x + f(id * y + iy))];
      const [left, top] = [Math.floor(sx), Math.floor(sy)];
      const [fx, fy] = [sx - left, sy - top];
      const [x0, x1] = [clamp(left, 0, width - 1), clamp(left + 1, 0, width - 1)];
      const [y0, y1] = [clamp(top, 0, height - 1) * width, clamp(top + 1, 0, height - 1) * width];
      for (let k = 0; k < channels; k += 1) {
        const [a0, a1] = [data[(y0 + x0) * channels + k], data[(y0 + x1) * channels + k]];
        const [b0, b1] = [data[(y1 + x0) * channels + k], data[(y1 + x1) * channels + k]];
        const upper = f(a0 + fx * (a1 - a0));
        const lower = f(b0 + fx * (b1 - b0));
        out.data[(y * side + x) * channels + k] = rint(f(upper + fy * (lower - upper)));
      }
    }
  }
  return out;
}

// Pictures of one size as a network's input, (n, channels, height, width).
export function tensor(pictures, normalised) {
  const [{ width, height, channels }] = pictures;
  const [plane, values] = [width * height, new Float32Array(pictures.length * channels * width * height)];
  for (const [n, { data }] of pictures.entries()) {
    for (let c = 0; c < channels; c += 1) {
      for (let p = 0; p < plane; p += 1) values[(n * channels + c) * plane + p] = normalised(data[p * channels + c]);
    }
  }
  return [values, [pictures.length, channels, height, width]];
}
