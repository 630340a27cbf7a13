"""What no single value shows: names that must be unique, names that must exist, and what the parts need of each other.

Works on the documents as they were read, not on the models, so that one wrong value hides no other problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import chain

from config import checks_placement
from config.positions import Document, Key
from config.problems import Problem, one_of, show

Sections = Mapping[str, Document]

ROLES = ("source", "build", "publish", "try")

# A key whose text is a template → what may stand in braces there. http lookasides are looked at by kind.
_TEMPLATES: tuple[tuple[str, Key, frozenset[str]], ...] = (
    ("repositories", ("layout", "packages"), frozenset({"repository", "arch"})),
    ("repositories", ("layout", "debuginfo"), frozenset({"repository", "arch"})),
    ("repositories", ("layout", "source"), frozenset({"repository"})),
    ("sources", ("dist_git",), frozenset({"package", "state"})),
    ("web", ("url",), frozenset({"port"})),
    ("web", ("database",), frozenset({"secret:NAME"})),
)
_ALONE = {"publish": "a worker that builds holds no key", "try": "what it builds is nobody's but the contributor's"}
# Rules over what users of all targets have: of a buildroot, which each target has for itself, they say nothing.
_SIGNED_ONLY = ("required-targets", "lag", "noarch-parity", "same-newest", "dnf")
_LOOKASIDE = {"folder": frozenset({"state"}), "http": frozenset({"package", "file", "algorithm", "hash"})}


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Everything that is wrong between the values of a site."""
    yield from _unique(sections)
    yield from _targets(sections, packages)
    yield from _suites(sections, packages)
    yield from _repositories(sections, packages)
    yield from _required(sections)
    yield from checks_placement.check(sections, packages)
    yield from _groups(sections, packages)
    yield from _exemptions(packages)
    yield from _schedules(sections, packages)
    yield from _stages(sections)
    yield from _pools(sections)
    yield from _sources(sections)
    yield from _roles(sections)
    yield from _signing(sections)
    yield from _templates(sections)
    yield from _retention(sections)


def _names(document: Document | None, *path: str) -> dict[str, Key]:
    """Name → place of each named thing in a list; of a name given twice, the first place."""
    found: dict[str, Key] = {}
    for place, item in document.mappings(*path) if document else ():
        if isinstance(name := item.get("name"), str):
            found.setdefault(name, place)
    return found


def _twice(document: Document | None, words: Iterable[tuple[Key, object]], what: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for place, word in words:
        if document is None or not isinstance(word, str):
            continue
        if word in first:
            yield document.problem(place, f"{what} {show(word)} twice, first on line {first[word]}", "each once")
        first.setdefault(word, document.line(place))


def _unique(sections: Sections) -> Iterator[Problem]:
    lists: tuple[tuple[str, Key, str], ...] = (
        ("targets", (), "target"),
        ("repositories", ("repositories",), "repository"),
        ("groups", ("groups",), "group"),
        ("groups", ("categories",), "category"),
        ("groups", ("environments",), "environment"),
        ("stages", (), "stage"),
        ("suites", (), "suite"),
        ("schedules", (), "schedule"),
        ("workers", (), "pool"),
        ("web", ("roles",), "role"),
    )
    for section, path, what in lists:
        if document := sections.get(section):
            names = (((*place, "name"), item.get("name")) for place, item in document.mappings(*path))
            yield from _twice(document, names, what)
    if workers := sections.get("workers"):
        everyone = chain.from_iterable(workers.words(*place, "workers") for place, _ in workers.mappings())
        yield from _twice(workers, everyone, "worker")
        for place, _ in workers.mappings():
            if workers.at(*place, "workers") == []:
                yield workers.problem((*place, "workers"), "an empty list", "at least one worker")


def _known(document: Document, words: Iterable[tuple[Key, str]], known: Iterable[str], what: str) -> Iterator[Problem]:
    known = tuple(known)
    for place, word in words:
        if word not in known:
            yield document.problem(place, f"unknown {what} {show(word)}", one_of(known, word))


def _targets(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    if not (targets := sections.get("targets")) or not isinstance(targets.data, list):
        return
    if not targets.data:
        yield targets.problem((), "no target", "at least one target")
    known = _names(targets)
    places: list[tuple[Document, Key]] = [(package, ("targets",)) for package in packages]
    named: tuple[tuple[str, Key], ...] = (
        ("repositories", ("repositories",)),
        ("suites", ()),
        ("schedules", ()),
        ("workers", ()),
        ("repositories", ("required",)),
        ("repositories", ("rules",)),
    )
    for package in packages:
        places += [(package, (*place, "targets")) for place, _ in package.mappings("hardware")]
    for section, path in named:
        if document := sections.get(section):
            places += [(document, (*place, "targets")) for place, _ in document.mappings(*path)]
    for document, path in places:
        if document.at(*path) == []:
            yield document.problem(path, "an empty list", "all, or at least one target")
        yield from _known(document, document.words(*path), known, "target")


def _chosen(document: Document, path: Key, targets: Iterable[str]) -> set[str]:
    """The targets that a ``targets:`` key chooses: all of them where it says so, says nothing or makes no sense."""
    chosen = document.at(*path, "targets")
    return set(targets) if not isinstance(chosen, list) else {t for t in chosen if isinstance(t, str)} & set(targets)


def _suites(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    suites, targets = sections.get("suites"), sections.get("targets")
    if not suites or not isinstance(suites.data, list) or not targets:
        return
    known, all_targets = _names(suites), _names(targets)
    runs_on = {name: _chosen(suites, place, all_targets) for name, place in known.items()}
    for place, item in targets.mappings():
        words = list(targets.words(*place, "suites"))
        yield from _known(targets, words, known, "suite")
        for where, word in words:
            if word in known and isinstance(name := item.get("name"), str) and name not in runs_on[word]:
                yield targets.problem(
                    where, f"suite {show(word)}, not for this target", "a suite whose targets hold it"
                )
    for package in packages:
        words = list(package.words("suites"))
        yield from _known(package, words, known, "suite")
        for where, word in words:
            if word in known and not runs_on[word] & _chosen(package, (), all_targets):
                yield package.problem(
                    where, f"suite {show(word)}, on none of the package's targets", "a suite of theirs"
                )


def _repositories(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    repositories, targets = sections.get("repositories"), sections.get("targets")
    if not repositories or not isinstance(repositories.data, dict):
        return
    known = _names(repositories, "repositories")
    if repositories.at("repositories") == []:
        yield repositories.problem(("repositories",), "an empty list", "at least one repository")
    default = repositories.at("default")
    if isinstance(default, str):
        yield from _known(repositories, [(("default",), default)], known, "repository")
    all_targets = _names(targets)
    for package in packages:
        placement = package.at("placement")
        placed = placement if isinstance(placement, dict) else {}
        places: list[tuple[Key, object]] = [(("placement", name), place) for name, place in placed.items()]
        places.append((("repository",), package.at("repository")))
        words = [(where, word) for where, word in places if isinstance(word, str)]
        yield from _known(package, words, known, "repository")
        for where, word in words:
            if word not in known:
                continue
            if missing := _chosen(package, (), all_targets) - _chosen(repositories, known[word], all_targets):
                yield package.problem(
                    where,
                    f"{show(word)}, which has no {', '.join(sorted(missing))}",
                    "a repository of all the package's targets, or fewer targets",
                )
        yield from _twice(package, package.words("replaces"), "binary package")
        binaries = package.at("binaries")
        if isinstance(binaries, list) and binaries:
            names = [(("placement", name), name) for name in placed]
            yield from _known(package, names, (b for b in binaries if isinstance(b, str)), "binary package")


def _required(sections: Sections) -> Iterator[Problem]:
    """What must be in a repository: one that there is, that users see, for its targets, and each package once."""
    if not (repositories := sections.get("repositories")):
        return
    known, all_targets = _names(repositories, "repositories"), _names(sections.get("targets"))
    for place, item in repositories.mappings("required"):
        if repositories.at(*place, "packages") == []:
            yield repositories.problem((*place, "packages"), "an empty list", "at least one binary package")
        yield from _twice(repositories, repositories.words(*place, "packages"), "package")
        if not isinstance(name := item.get("repository"), str):
            continue
        where = (*place, "repository")
        yield from _known(repositories, [(where, name)], known, "repository")
        if name not in known:
            continue
        if repositories.at(*known[name], "published") is False:
            yield repositories.problem(where, f"{show(name)}, which users never see", "a published repository")
        chosen = _chosen(repositories, place, all_targets)
        if missing := chosen - _chosen(repositories, known[name], all_targets):
            found = f"{show(name)}, which has no {', '.join(sorted(missing))}"
            yield repositories.problem(where, found, "a repository of all these targets, or fewer targets")


def _groups(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Groups that there are, with members the site builds, each once."""
    if not (groups := sections.get("groups")):
        return
    known = _names(groups, "groups")
    for kind, keys in (("categories", ("groups",)), ("environments", ("groups", "optional"))):
        for place, _ in groups.mappings(kind):
            words = [word for key in keys for word in groups.words(*place, key)]
            yield from _known(groups, words, known, "group")
            yield from _twice(groups, words, "group")
    recorded = [package.at("binaries") for package in packages]
    # A package whose binaries nobody recorded may make any of them.
    whole = bool(recorded) and all(isinstance(binaries, list) and binaries for binaries in recorded)
    made = {name for binaries in recorded if isinstance(binaries, list) for name in binaries if isinstance(name, str)}
    for place, _ in groups.mappings("groups"):
        words = [word for key in ("mandatory", "default", "optional") for word in groups.words(*place, key)]
        if not words and all(groups.at(*place, key) in (None, []) for key in ("mandatory", "default", "optional")):
            yield groups.problem(place, "a group without packages", "at least one of mandatory, default, optional")
        yield from _twice(groups, words, "package")
        if whole:
            yield from _known(groups, words, made, "binary package")


def _exemptions(packages: Sequence[Document]) -> Iterator[Problem]:
    for package in packages:
        for place, item in package.mappings("exemptions"):
            until = item.get("until")
            if isinstance(until, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", until):  # else the model says so
                try:
                    date.fromisoformat(until)
                except ValueError:
                    yield package.problem((*place, "until"), show(until), "a day of the calendar: YYYY-MM-DD")


def _schedules(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    known = [name for package in packages if isinstance(name := package.at("name"), str)]
    if not (schedules := sections.get("schedules")):
        return
    for place, item in schedules.mappings():
        yield from _known(schedules, schedules.words(*place, "packages"), known, "package")
        if "suites" in item:
            if "packages" in item:
                yield schedules.problem((*place, "packages"), "packages beside suites", "two schedules, one for each")
            yield from _scheduled_suites(sections, schedules, place)


def _scheduled_suites(sections: Sections, schedules: Document, place: Key) -> Iterator[Problem]:
    """What a schedule runs: suites that there are, that need no package, and something on each target it names."""
    suites, targets = sections.get("suites"), sections.get("targets")
    where = (*place, "suites")
    if (asked := schedules.at(*where)) == []:
        yield schedules.problem(where, "an empty list", "all, or at least one suite")
        return
    if (
        not suites
        or not isinstance(suites.data, list)
        or not targets
        or not (asked == "all" or isinstance(asked, list))
    ):
        return
    known, all_targets = _names(suites), _names(targets)
    alone = {
        name: _chosen(suites, at, all_targets) for name, at in known.items() if not suites.at(*at, "needs_package")
    }
    chosen, words = _chosen(schedules, place, all_targets), list(schedules.words(*where))
    yield from _known(schedules, words, known, "suite")
    for key, name in words:
        if name in known and name not in alone:
            yield schedules.problem(key, f"suite {show(name)}, which needs a package", one_of(alone, name))
        elif name in alone and not alone[name] & chosen:
            yield schedules.problem(key, f"suite {show(name)}, on none of these targets", "a suite of theirs")
    if not all(name in alone and alone[name] & chosen for _, name in words):
        return
    tested = set().union(*(alone[name] for name in (alone if asked == "all" else [name for _, name in words])))
    if not tested & chosen:
        yield schedules.problem(where, "all, where no suite runs without a package", "schedules that start something")
        return
    for key, target in schedules.words(*place, "targets"):
        if target in all_targets and target not in tested:
            yield schedules.problem(key, f"target {show(target)}, which none of its suites fits", "a target of theirs")


def _stages(sections: Sections) -> Iterator[Problem]:
    stages, suites, targets = sections.get("stages"), sections.get("suites"), sections.get("targets")
    if stages and stages.data == []:
        yield stages.problem((), "no stage", "at least one stage: where builds are staged")
    for place, stage in stages.mappings() if stages else ():
        assert stages is not None  # noqa: S101 - it has a stage
        rules = [(where, entry) for where, entry in stages.mappings(*place, "gate")]
        yield from _twice(stages, (((*where, "rule"), entry.get("rule")) for where, entry in rules), "rule")
        if stage.get("composes") is not None and stage.get("signed") is not True:
            found = "composes of a stage that is not signed"
            yield stages.problem((*place, "composes"), found, "signed: true, or no composes: mirrors carry signed packages")
        for where, entry in rules:
            if entry.get("suites") and entry.get("rule") != "tested":
                found = f"suites beside the rule {show(entry.get('rule'))}"
                yield stages.problem((*where, "suites"), found, "suites beside the rule 'tested' alone")
            if suites:
                yield from _known(stages, stages.words(*where, "suites"), _names(suites), "suite")
            if entry.get("rule") in _SIGNED_ONLY and stage.get("signed") is not True:
                found = f"{show(entry.get('rule'))}, at a stage that is not signed"
                yield stages.problem((*where, "rule"), found, "that rule only at a stage with signed: true")
    for place, target in targets.mappings() if targets else ():
        assert targets is not None  # noqa: S101 - it has a target
        if target.get("lag_days") is not None and target.get("required") is not False:
            found = "lag_days of a target that is required"
            yield targets.problem((*place, "lag_days"), found, "lag_days only beside required: false")


def _pools(sections: Sections) -> Iterator[Problem]:
    workers, targets = sections.get("workers"), sections.get("targets")
    if not workers or not isinstance(workers.data, list):
        return
    all_targets = _names(targets)
    has: dict[str, set[str]] = {}
    for place, pool in workers.mappings():
        roles = [role for _, role in workers.words(*place, "roles")]
        yield from _twice(workers, workers.words(*place, "roles"), "role")
        for role in roles:
            has.setdefault(role, set()).update(_chosen(workers, place, all_targets))
        if "publish" in roles and (len(list(workers.words(*place, "workers"))) > 1 or pool.get("max_builds", 1) != 1):
            yield workers.problem(
                place, "a pool that publishes more than one build at a time", "one worker, max_builds: 1"
            )
        for alone in sorted(_ALONE.keys() & set(roles)):
            if len(set(roles)) > 1:
                others = ", ".join(role for role in roles if role != alone)
                yield workers.problem((*place, "roles"), f"{alone} beside {others}", f"{alone} alone: {_ALONE[alone]}")
    if not all(isinstance(pool.get("roles"), list) for _, pool in workers.mappings()):
        return  # told of already; what is missing cannot be known
    for role in ROLES:
        if role not in has:
            yield workers.problem((), f"no worker pool for the role {role}", f"at least one pool with roles: [{role}]")
        elif role in ("build", "try") and (without := sorted(set(all_targets) - has[role])):
            yield workers.problem(
                (), f"no {role} worker for {', '.join(without)}", f"a pool with roles: [{role}] for each target"
            )


def _sources(sections: Sections) -> Iterator[Problem]:
    if not (sources := sections.get("sources")):
        return
    for key, what in (("lookaside", "place to take tarballs from"), ("branches", "branch")):
        if sources.at(key) == []:
            yield sources.problem((key,), "an empty list", f"at least one {what}")
    for place, item in sources.mappings("lookaside"):
        if item.get("kind") in ("folder", "http") and not item.get("location"):
            yield sources.problem(place, f"a lookaside of kind {item['kind']} without a location", "a location")


def _roles(sections: Sections) -> Iterator[Problem]:
    if web := sections.get("web"):
        if web.at("roles") == []:
            yield web.problem(("roles",), "an empty list", "at least one role, or nobody may do anything")
        for place, item in web.mappings("roles"):
            for where, word in web.words(*place, "may"):
                if word == "everything" and not item.get("users"):
                    yield web.problem(
                        where, "everything, for a role without users", "that only for a role that names its users"
                    )


_SIGNED_BY: dict[str, tuple[set[str], set[str]]] = {
    "gpg": (set(), {"home", "secret", "passphrase"}),
    "pkcs11": ({"key", "public_keys", "module", "passphrase"}, set()),
    "command": ({"key", "public_keys", "command"}, set()),
}
"""Backend → the keys of signing.yaml that it needs, and those it may have besides."""


def _signing(sections: Sections) -> Iterator[Problem]:
    """What a backend needs is there, what it does not know is not, and each secret comes from one place."""
    signing = sections.get("signing")
    if not signing or not isinstance(signing.data, dict):
        return
    backend = signing.at("backend") or "gpg"
    if backend in _SIGNED_BY:
        needed, possible = _SIGNED_BY[backend]
        for key in sorted(needed):
            if not signing.at(key):
                yield signing.problem((key,), f"no {key} for the backend {backend}", f"{key}, which {backend} needs")
        of_others = set().union(*(a | b for a, b in _SIGNED_BY.values())) - needed - possible - {"key", "public_keys"}
        for key in sorted(of_others & signing.data.keys()):
            backends = [name for name, keys in _SIGNED_BY.items() if key in keys[0] | keys[1]]
            yield signing.problem((key,), f"{key}, which {backend} does not use", f"{key} with {' or '.join(backends)}")
    if "home" in signing.data and "secret" in signing.data:
        yield signing.problem(("home",), "home beside secret", "one of them")
    if signing.at("earlier") and not signing.at("key"):
        yield signing.problem(("earlier",), "earlier keys without a current one", "key: the one that signs now")
    yield from _twice(signing, signing.words("earlier"), "key")
    for place, word in signing.words("earlier"):
        if word == signing.at("key"):
            yield signing.problem(place, "the current key", "keys that signed before")
    for place, text in signing.words("public_keys"):
        if text.count("-----BEGIN PGP PUBLIC KEY BLOCK-----") != 1:
            yield signing.problem(place, "no armored public key, or several", "one PGP PUBLIC KEY BLOCK each")
    for name in ("secret", "passphrase"):
        if isinstance(at := signing.at(name), dict) and len(given := [k for k in at if at[k]]) != 1:
            yield signing.problem((name,), f"{' beside '.join(given) or 'no source'}", "one of file, credential, vault")
    words = [word for _, word in signing.words("command")]
    for needs in ("{file}", "{signature}"):
        if words and not any(needs in word for word in words):
            yield signing.problem(("command",), f"a command without {needs}", "a command with {file} and {signature}")


def _templates(sections: Sections) -> Iterator[Problem]:
    places = [(sections[section], path, allowed) for section, path, allowed in _TEMPLATES if section in sections]
    if sources := sections.get("sources"):
        for place, item in sources.mappings("lookaside"):
            if isinstance(kind := item.get("kind"), str) and kind in _LOOKASIDE:
                places.append((sources, (*place, "location"), _LOOKASIDE[kind]))
    if workers := sections.get("workers"):
        places += [(workers, (*place, "state"), frozenset({"state"})) for place, _ in workers.mappings()]
    if signing := sections.get("signing"):
        places += [(signing, path, frozenset({"key", "file", "signature"})) for path, _ in signing.words("command")]
    for document, path, allowed in places:
        text = document.at(*path)
        for word in re.findall(r"\{([^{}]*)\}", text) if isinstance(text, str) else ():
            if re.sub(r"^secret:.+", "secret:NAME", word) not in allowed:
                names = ", ".join(f"{{{name}}}" for name in sorted(allowed))
                yield document.problem(path, f"the placeholder {show(f'{{{word}}}')}", names)
        if path == ("dist_git",) and isinstance(text, str) and "{package}" not in text:
            yield document.problem(path, f"{show(text)} for every package", "a template with {package} in it")


def _retention(sections: Sections) -> Iterator[Problem]:
    """A time that the minimum age would lengthen says something that is not so."""
    if not (retention := sections.get("retention")):
        return
    hours = retention.at("minimum_age_hours")
    if not isinstance(hours, int):
        return
    for key in ("failed_days", "try_days", "source_days"):
        if isinstance(days := retention.at(key), int) and 0 < days * 24 < hours:
            yield retention.problem(
                (key,), f"{days}, less than minimum_age_hours: {hours}", f"at least {-(-hours // 24)}"
            )
