"use strict";
const $ = (id) => document.getElementById(id);
const element = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;  // never HTML: ids are whatever a log holds
  if (className) made.className = className;
  return made;
};

async function ask(path, options) {
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const post = (path, document) => ask(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(document),
});
const model = "/v1/models/" + encodeURIComponent(document.body.dataset.model);
const named = document.body.dataset.names === "yes";
const titles = new Map();  // of items that have one
let signatures = {};  // of the model, by name
let domains = [];  // of the model, in its order, which is that of their colours

async function predict(signature, instances) {
  return (await post(model + ":predict", { signature_name: signature, instances })).predictions;
}

const user = () => $("user").value.trim();
const stored = () => document.body.dataset.histories === "yes" && user() !== "";
const titleOf = (item) => titles.get(item) || item;
const colourOf = (domain) => domains.includes(domain) ? `var(--s${domains.indexOf(domain) % 8})` : "var(--accent)";

// Asks once for what the items are called that stand on the page.
async function learnTitles(items) {
  const asked = [...new Set(items)].filter((item) => item && !titles.has(item));
  if (!named) return;
  for (let start = 0; start < asked.length; start += 50) {
    const query = asked.slice(start, start + 50).map((item) => "id=" + encodeURIComponent(item)).join("&");
    for (const found of await ask("/items?" + query)) titles.set(found.id, found.title);
  }
}

// A model that knows users is asked by one more input, one that people come back to by times.
function recommendations(items, asked, timestamps) {
  const told = "user_id" in signatures.serving_default.inputs ? { user_id: user() } : {};
  if (timestamps.length && "with_times" in signatures)
    return predict("with_times", asked.map((domain) => ({ items, domain, timestamps, now: 0, k: 10, ...told })));
  return predict("serving_default", asked.map((domain) => ({ items, domain, ...told })));
}

// What a store has of a user; where it does not say, nothing is known, and that is no error.
async function storedHistory() {
  try {
    return await post("/v1/histories:latest", { user_id: user() });
  } catch (error) {
    $("error").textContent = error.message;
    return { items: [], timestamps: [] };
  }
}

async function record(item) {
  try {
    await post("/v1/histories:record", { user_id: user(), item_id: item });
  } catch (error) {
    $("error").textContent = error.message;
    return;
  }
  await recommend();
}

// A bar, its label before and its number behind.
function bar(name, share, number, className) {
  const made = element("div", undefined, "bar " + className), length = element("i", undefined, share < 0 ? "less" : "");
  length.style.setProperty("--v", Math.min(Math.abs(share), 1));
  const label = element("span", name);
  label.title = name;
  made.append(label, length, element("span", number));
  return made;
}

const PARTS = {
  single: ["the domain's own history", "single"], cross: ["the history of all domains", "cross"], network: ["the network", ""],
  similar_users: ["users like this one", ""], coming_back: ["repeat consumption", ""], popular_lately: ["recent popularity", ""],
};

// What the scores of a card's items are made of, below each of them.
async function explain(table, row, history) {
  const candidates = row.items.filter(Boolean);
  const [parts] = await predict("explain_items", [{ items: history.length ? history : [""], candidates }]);
  candidates.forEach((item, n) => {
    const found = Object.entries(PARTS).filter(([name]) => parts[name] && parts[name][n])
      .map(([name, [label, className]]) => [label, parts[name][n], className]);
    const votes = new Map();
    history.forEach((voter, place) => { if (parts.votes[n][place]) votes.set(voter, (votes.get(voter) || 0) + parts.votes[n][place]); });
    for (const [voter, vote] of [...votes].sort((a, b) => b[1] - a[1])) found.push(["vote of " + titleOf(voter), vote, "vote"]);
    const most = Math.max(...found.map(([, value]) => Math.abs(value)), 1e-9);
    const cell = table.rows[2 * n + 1].cells[0];
    cell.replaceChildren(...found.map(([label, value, className]) => bar(label, value / most, (value > 0 ? "+" : "") + value.toFixed(2), className)));
    if (!votes.size) cell.append(element("p", "No item of the history votes for it."));
  });
  table.dataset.explained = "yes";
}

function card(title, row, chosen, history) {
  const made = element("section", undefined, chosen ? "card chosen" : "card");
  made.dataset.domain = title;
  made.style.setProperty("--c", title ? colourOf(title) : "var(--muted)");
  made.append(element("h3", title || "every domain"));
  const table = made.appendChild(element("table"));
  const there = row.scores.filter((score, i) => row.items[i]);
  const best = Math.max(...there), worst = Math.min(...there);
  row.items.forEach((item, i) => {
    if (!item) return;
    const line = table.insertRow(), score = row.scores[i];
    line.dataset.score = score.toFixed(3);
    const name = line.insertCell();
    if (stored()) {
      const button = name.appendChild(element("button", titleOf(item)));
      button.type = "button";
      button.onclick = () => record(item);
    } else name.append(titleOf(item));
    const length = element("i");
    // Of every domain, scores are logarithms of probabilities; of one, only how they differ says something.
    const share = title ? (best > worst ? (score - worst) / (best - worst) : 1) : Math.exp(score - best);
    length.style.setProperty("--v", 0.06 + 0.94 * share);
    length.style.setProperty("--c", colourOf(row.domains[i]));
    const shown = line.insertCell();
    shown.className = "score";
    shown.append(length);
    line.title = `${item} (${row.domains[i]}), score ${score.toFixed(3)}`;
    const asks = line.insertCell(), below = table.insertRow();
    asks.className = "ask";
    below.className = "why";
    below.hidden = true;
    below.insertCell().colSpan = 3;
    if (!title) asks.append((100 * Math.exp(score)).toFixed(1) + " %");
    if (!title || !("explain_items" in signatures)) return;
    const why = asks.appendChild(element("button", "why"));
    why.type = "button";
    why.setAttribute("aria-expanded", "false");
    why.setAttribute("aria-label", "why " + titleOf(item));
    why.onclick = async () => {
      below.hidden = !below.hidden;
      why.setAttribute("aria-expanded", String(!below.hidden));
      if (table.dataset.explained) return;
      try {
        await explain(table, row, history);
      } catch (error) {
        $("error").textContent = error.message;
      }
      document.body.dataset.explained = "yes";
    };
  });
  if (!table.rows.length) made.append(element("p", "nothing left to recommend"));
  return made;
}

function bars(title, note, names, shares, classOf) {
  const made = element("section", undefined, "card");
  made.style.setProperty("--c", colourOf(title));
  made.append(element("h3", title), element("p", note));
  const most = Math.max(...shares, 1e-9);
  names.forEach((name, i) => {
    const line = made.appendChild(bar(name, shares[i] / most, shares[i].toFixed(3), classOf(name)));
    if (domains.includes(name)) line.style.setProperty("--c", colourOf(name));
  });
  return made;
}

async function recommend() {
  let history = $("history").value.split("\n").map((line) => line.trim()).filter(Boolean), timestamps = [];
  const asked = [...$("domain").options].map((option) => option.value);
  $("error").textContent = "";
  try {
    if (stored()) {
      ({ items: history, timestamps } = await storedHistory());
      $("history").value = history.join("\n");
    }
    const items = history.length ? history : [""];
    const [rows, [why]] = await Promise.all([
      recommendations(items, asked, timestamps),
      predict("explain", [{ items }]),
    ]);
    await learnTitles([...history, ...rows.flatMap((row) => row.items)]);
    $("note").textContent = `${rows[0].known_items} of ${history.length} items known` +
      (rows[0].fallback ? ": popularity fallback" : "");
    const order = asked.map((domain, i) => i).sort((a, b) =>
      (asked[b] === $("domain").value) - (asked[a] === $("domain").value));
    $("answer").replaceChildren(...order.map((i) => card(asked[i], rows[i], asked[i] === $("domain").value, history)));
    const task = (name) => name.split(" ")[0];
    const cards = element("div", undefined, "cards");
    if (why.lambda) cards.append(
      bars("λ", "small: the other domains hurt this one (value of the last training step)", why.domains, why.lambda, () => "lambda"));
    if (why.experts) cards.append(
      bars("experts, all domains", "weight of each expert for this history", why.experts, why.cross_gates, task),
      ...why.domains.map((domain, d) =>
        bars(domain, "weight of each expert for the history in the domain alone", why.experts, why.single_gates[d], task)),
    );
    $("why").replaceChildren(...(cards.children.length ? [element("h2", "Weights inside the network"), cards] : []));
  } catch (error) {
    $("error").textContent = error.message;
  }
  document.body.dataset.done = "yes";
}

function chip(item) {
  const made = element("button", titleOf(item));
  made.type = "button";
  made.title = item;
  made.onclick = () => {
    if (stored()) record(item);
    else $("history").value = ($("history").value.trim() + "\n" + item).trim();
  };
  return made;
}

let latest = 0;  // search, so that a slow answer does not replace a newer one

async function search() {
  const text = $("search").value.trim(), number = ++latest;
  try {
    const items = text ? await ask("/items?q=" + encodeURIComponent(text)) : [];
    if (number !== latest) return;
    for (const found of items) titles.set(found.id, found.title);
    $("found").replaceChildren(...items.map((found) => chip(found.id)));
    if (text && !items.length) $("found").replaceChildren(element("span", "no item has these words"));
  } catch (error) {
    $("error").textContent = error.message;
  }
}

// From the search box, arrows walk through what is found; Enter takes the first, Escape empties the box.
function steer(event) {
  const buttons = [...$("found").querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
  if (event.key === "Enter" && at < 0) {
    event.preventDefault();
    if (buttons.length) buttons[0].click();
  } else if (event.key === "Escape") {
    $("search").value = "";
    $("search").focus();
    search();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (buttons[next] || $("search")).focus();
  }
}

async function start() {
  $("find").hidden = !named;
  try {
    signatures = (await ask(model + "/metadata")).metadata.signature_def.signature_def;
    const histories = document.body.dataset.histories === "yes";
    $("by-user").hidden = !histories;
    $("user").parentElement.hidden = !histories && !("user_id" in signatures.serving_default.inputs);
    const [why] = await predict("explain", [{ items: [""] }]);
    domains = why.domains;
    for (const domain of domains) $("domain").append(new Option(domain, domain));
    const popular = (await recommendations([""], domains, [])).flatMap((row) => row.items.slice(0, 4).filter(Boolean));
    await learnTitles(popular);
    $("popular").append(...popular.map(chip));
  } catch (error) {
    $("error").textContent = error.message;
    return;
  }
  document.body.dataset.ready = "yes";
  // A link may carry a request: /?domain=Books&history=a&history=b&user=c
  const asked = new URLSearchParams(location.search);
  if (asked.has("history") || asked.has("user")) {
    $("user").value = asked.get("user") || "";
    $("history").value = asked.getAll("history").join("\n");
    $("domain").value = asked.get("domain") || "";
    $("form").requestSubmit();
  }
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); recommend(); });
$("clear").addEventListener("click", () => { $("history").value = ""; });
$("search").addEventListener("input", search);
$("find").addEventListener("keydown", steer);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && named && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    $("search").focus();
  }
});
start();
