// Lists the operations of openapi.json as plain tables.

function element(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function table(heads, rows) {
  const wide = element("div", undefined, "wide");
  const node = element("table");
  const head = element("tr");
  head.append(...heads.map((text) => element("th", text)));
  node.append(head);
  for (const cells of rows) {
    const row = element("tr");
    row.append(...cells.map((text) => element("td", text)));
    node.append(row);
  }
  wide.append(node);
  return wide;
}

const kind = (schema) => schema?.type ?? schema?.anyOf?.map((s) => s.type).filter((t) => t !== "null").join(" or ") ?? "";

function article(path, verb, operation) {
  const card = element("article", undefined, "card");
  const title = element("h2");
  title.append(element("span", verb.toUpperCase(), "verb"), element("code", path), element("small", operation.summary, "muted"));
  card.append(title);
  if (operation.description) card.append(element("p", operation.description));
  if (operation.parameters) {
    card.append(table(["Parameter", "Kind", "Meaning"], operation.parameters.map((p) => [p.name, kind(p.schema), p.description ?? ""])));
  }
  if (operation.requestBody) card.append(element("p", operation.requestBody.description));
  const answers = Object.entries(operation.responses).map(([status, r]) => [status, Object.keys(r.content ?? {}).join(", "), r.description]);
  card.append(table(["Status", "Type", "Meaning"], answers));
  return card;
}

document.getElementById("example").textContent = `curl -F image=@photo.jpg '${new URL("v1/predict", location.href)}'`;
const specification = await (await fetch("openapi.json")).json();
for (const [path, verbs] of Object.entries(specification.paths)) {
  for (const [verb, operation] of Object.entries(verbs)) document.getElementById("operations").append(article(path, verb, operation));
}
