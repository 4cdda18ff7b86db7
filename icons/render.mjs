// Draws the app's icons from icon.svg: node icons/render.mjs
// Needs Chromium (CHROMIUM names another binary). The results are committed; run it again when icon.svg has changed.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const chromium = process.env.CHROMIUM ?? "chromium";
const scratch = mkdtempSync(join(tmpdir(), "millpond-icons-"));
const svg = readFileSync(join(here, "icon.svg"), "utf8");

/**
 * The drawing as PNGs of size × size pixels, by size, with a transparent ground. The page draws them itself and hands them over in
 * its markup: a picture of Chromium's window cannot be smaller than the window.
 */
function draw(sizes) {
  const page = join(scratch, "page.html");
  const drawing = `data:image/svg+xml;base64,${Buffer.from(svg).toString("base64")}`;
  writeFileSync(page, `<!doctype html><pre></pre><script>
    const picture = new Image();
    picture.onload = () => {
      document.querySelector("pre").textContent = ${JSON.stringify(sizes)}.map((size) => {
        const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
        canvas.getContext("2d").drawImage(picture, 0, 0, size, size);
        return "png " + size + " " + canvas.toDataURL("image/png").split(",")[1];
      }).join("\\n");
    };
    picture.src = "${drawing}";
  </script>`);
  const options = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${join(scratch, "profile")}`];
  const markup = execFileSync(
    chromium,
    [...options, "--virtual-time-budget=10000", "--dump-dom", pathToFileURL(page).href],
    { encoding: "utf8", timeout: 60_000, maxBuffer: 1 << 24, stdio: ["ignore", "pipe", "ignore"] },
  );
  const found = [...markup.matchAll(/png (\d+) ([A-Za-z0-9+/=]+)/g)].filter(([line]) => !line.includes("size"));
  const drawn = new Map(found.map(([, size, data]) => [Number(size), Buffer.from(data, "base64")]));
  for (const size of sizes) if (!drawn.has(size)) throw new Error(`Chromium did not draw ${size} pixels`);
  return drawn;
}

/** A Windows icon: a directory of PNG pictures. */
function ico(pictures) {
  const head = Buffer.alloc(6 + 16 * pictures.length);
  head.writeUInt16LE(1, 2);
  head.writeUInt16LE(pictures.length, 4);
  let offset = head.length;
  pictures.forEach(([size, data], index) => {
    const at = 6 + 16 * index;
    // 0 stands for 256.
    head.writeUInt8(size % 256, at);
    head.writeUInt8(size % 256, at + 1);
    head.writeUInt16LE(1, at + 4);
    head.writeUInt16LE(32, at + 6);
    head.writeUInt32LE(data.length, at + 8);
    head.writeUInt32LE(offset, at + 12);
    offset += data.length;
  });
  return Buffer.concat([head, ...pictures.map(([, data]) => data)]);
}

/** A macOS icon: PNG pictures, each under the four letters that name its size. */
function icns(pictures) {
  const parts = pictures.map(([type, data]) => {
    const head = Buffer.alloc(8);
    head.write(type, 0, "ascii");
    head.writeUInt32BE(8 + data.length, 4);
    return Buffer.concat([head, data]);
  });
  const head = Buffer.alloc(8);
  head.write("icns", 0, "ascii");
  head.writeUInt32BE(8 + parts.reduce((sum, part) => sum + part.length, 0), 4);
  return Buffer.concat([head, ...parts]);
}

try {
  const drawn = draw([16, 32, 48, 64, 128, 256, 512]);
  const write = (name, data) => writeFileSync(join(here, name), data);
  write("32x32.png", drawn.get(32));
  write("128x128.png", drawn.get(128));
  write("128x128@2x.png", drawn.get(256));
  write("icon.png", drawn.get(512));
  write("icon.ico", ico([16, 32, 48, 64, 256].map((size) => [size, drawn.get(size)])));
  write("icon.icns", icns([["icp4", 16], ["icp5", 32], ["ic07", 128], ["ic08", 256], ["ic09", 512]]
    .map(([type, size]) => [type, drawn.get(size)])));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
