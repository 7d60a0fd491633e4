// Saves the picture of an alignment: the SVG as it came from the server, or a PNG that this browser draws of it.
// As an image an SVG runs no script and loads nothing; no text of it becomes markup here.

const MOST_PIXELS = 16000; // of a side: beyond that browsers give an empty picture

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function png(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const scale = Math.min(2, MOST_PIXELS / image.width, MOST_PIXELS / image.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(image.width * scale);
  canvas.height = Math.round(image.height * scale);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".picture");
  root._data = data;
  if (root.childElementCount) return;
  for (const format of ["SVG", "PNG"]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Picture as ${format}`;
    button.addEventListener("click", async () => {
      const { svg, name } = root._data;
      const blob = format === "SVG" ? new Blob([svg], { type: "image/svg+xml" }) : await png(svg);
      if (blob) save(blob, `${name}.${format.toLowerCase()}`);
    });
    root.append(button);
  }
}
