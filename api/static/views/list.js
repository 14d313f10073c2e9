// The list of experiments.

import { get } from "../http.js";
import { fill, h } from "../dom.js";

export async function show(main, { query, signal }) {
  const page = await get("/v1/experiments", Object.fromEntries(query), signal);
  fill(
    main,
    h("h1", {}, "Experiments"),
    h("ul", {}, page.experiments.map((one) => h("li", {}, h("a", { href: `/experiments/${one.id}` }, one.name || one.id), " ", one.state))),
  );
}
