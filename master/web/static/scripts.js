// The page "Packages": for each package and target, the newest state, what the target owes, and what it waits for.
// It needs no build step: Buildbot's page offers React and its plugin registry as globals.
(function () {
  const React = window.React;
  const h = React.createElement;
  const REFRESH_MILLISECONDS = 5000;

  function link(build, text, title) {
    const href = `#/builders/${build.builder}/builds/${build.number}`;
    return h("a", { href, title, style: { marginRight: "0.6em" } },
      h("span", { className: `bb-badge-status results_${(build.results || "pending").toUpperCase()}` }, text));
  }

  // The states of master/status.py: caption and colour of each.
  const STATES = {
    source: ["source", "PENDING"], waiting: ["waits", "PENDING"], running: ["building", "PENDING"],
    promoting: ["publishing", "PENDING"], signed: ["signed", "SUCCESS"], published: ["published", "SUCCESS"],
    failed: ["failed", "FAILURE"],
  };
  const WITH_REASON = ["waiting", "running", "signed", "failed"];

  function cell(it) {
    if (it.state === "nothing") return h("span", { className: "text-muted" }, "never built");
    const [caption, colour] = STATES[it.state];
    const badge = h("span", { className: `bb-badge-status results_${it.warned ? "WARNINGS" : colour}` }, caption);
    return [
      it.build ? h("a", { key: "build", href: it.build, title: it.words }, badge) : badge,
      WITH_REASON.includes(it.state) ? h("div", { key: "words", className: "text-muted small" }, it.words) : null,
      it.owes ? h("div", { key: "owes", className: "text-danger small" }, "owed") : null,
    ];
  }

  function Packages() {
    const [data, setData] = React.useState(null);
    const [problem, setProblem] = React.useState("");
    React.useEffect(() => {
      let closed = false;
      async function load() {
        try {
          const answer = await fetch("plugins/kitten/packages.json");
          if (!answer.ok) throw new Error(`the master answers ${answer.status}`);
          const value = await answer.json();
          if (!closed) { setData(value); setProblem(""); }
        } catch (error) {
          if (!closed) setProblem(String(error));
        }
      }
      load();
      const timer = setInterval(load, REFRESH_MILLISECONDS);
      return () => { closed = true; clearInterval(timer); };
    }, []);
    return h("div", { className: "container-fluid" },
      h("h2", null, "Packages"),
      problem ? h("div", { className: "alert alert-warning" }, problem) : null,
      data ? h("table", { className: "table table-bordered table-sm" },
        h("thead", null, h("tr", null,
          h("th", null, "Package"), h("th", null, "Source"), data.targets.map((name) => h("th", { key: name }, name)))),
        h("tbody", null, data.packages.map((row) => h("tr", { key: row.package },
          h("th", { scope: "row" }, row.package),
          h("td", null, row.source
            ? link(row.source, row.source.nevr || row.source.results || "running", row.source.text)
            : h("span", { className: "text-muted" }, "no commit seen")),
          data.targets.map((name) => h("td", { key: name },
            row.targets[name]
              ? cell(row.targets[name])
              : h("span", { className: "text-muted" }, "not for this target"))))))
      ) : h("p", null, "Loading …"),
      data && data.housekeeping.length ? h("ul", { className: "list-unstyled" },
        data.housekeeping.map((row) => h("li", { key: row.what },
          link(row, row.what, row.text), row.finished
            ? `${row.text}, ${new Date(row.finished * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`
            : "running"))) : null);
  }

  window.BuildbotPluginSupport.buildbotSetupPlugin((registry) => {
    registry.registerMenuGroup({
      name: "packages", caption: "Packages", icon: h("span", null, "▦"), order: 3, route: "/packages", parentName: null,
    });
    registry.registerRoute({ route: "/packages", group: "packages", element: () => h(Packages) });
  });
})();
