// The page of the API: what the OpenAPI document says, to be read and searched.

import { api } from "./api.js";
import { $ } from "./ui.js";

const place = $("#docs"), document_ = await (await api("GET", place.dataset.source)).json();
/** Text in which the document marks code. */
const prose = (text) => (text ?? "").split("`").map((part, index) => (index % 2 ? element("code", part) : part));
function element(name, text, className) {
  const made = Object.assign(document.createElement(name), { className: className ?? "" });
  made.append(...prose(text));
  return made;
}
$("#docs-intro").replaceChildren(...prose(document_.info.description));
const groups = new Map();
for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const tag = operation.tags?.[0] ?? "Other";
    groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }]);
  }
}
const schemaName = (content) => {
  const [type, body] = Object.entries(content ?? {})[0] ?? [];
  const name = body?.schema?.$ref?.split("/").pop();
  return type ? `${type}${name ? ` · ${name}` : ""}` : "";
};
for (const [tag, operations] of groups) {
  const section = document.createElement("section");
  section.append(element("h2", tag));
  for (const { path, method, operation } of operations) {
    const details = element("details", "", "operation"), summary = document.createElement("summary"), body = element("div", "", "detail");
    details.dataset.find = `${method} ${path} ${operation.summary ?? ""}`.toLowerCase();
    summary.append(element("span", method.toUpperCase(), "method"), element("code", path), element("span", operation.summary, "what"));
    if (operation.description) body.append(element("p", operation.description));
    const auth = (operation.security ?? []).map((one) => Object.keys(one)[0]).join(" or ");
    body.append(element("p", auth ? `Needs: ${auth.replaceAll("_", " ")}` : "Open to anybody", "hint"));
    const schema = operation.requestBody?.content?.["application/json"]?.schema;
    const fields = document_.components?.schemas?.[schema?.$ref?.split("/").pop()];
    if (fields?.properties) {
      const ul = document.createElement("ul");
      for (const [name, field] of Object.entries(fields.properties)) {
        const li = document.createElement("li");
        li.append(element("code", name), ...prose(` ${[].concat(field.type ?? "").join(" or ")}${fields.required?.includes(name) ? ", required" : ""}${field.description ? `: ${field.description}` : ""}`));
        ul.append(li);
      }
      body.append(element("h3", "Body"), ul);
    }
    const ul = document.createElement("ul");
    for (const [status, answer] of Object.entries(operation.responses ?? {})) {
      const li = document.createElement("li");
      li.append(element("code", status), ...prose(` ${answer.description} `), element("span", schemaName(answer.content), "hint"));
      ul.append(li);
    }
    body.append(element("h3", "Answers"), ul);
    details.append(summary, body);
    section.append(details);
  }
  place.append(section);
}
$("#docs-filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const details of place.querySelectorAll("details")) details.hidden = !details.dataset.find.includes(wanted);
  const found = place.querySelectorAll("details:not([hidden])").length;
  for (const section of place.querySelectorAll("section")) section.hidden = !$("details:not([hidden])", section);
  $("#docs-found").textContent = wanted ? `${found} operation${found === 1 ? "" : "s"} found` : "";
});
