#!/usr/bin/env python3
"""Which crates are in the program: CycloneDX 1.5, as JSON, from what `cargo metadata --locked` prints.

    cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu \
        | packaging/sbom.py Cargo.lock > xds-bridge.cdx.json

Only what is linked into the program (and what makes code of it: procedural macros): neither what tests need nor what
only the build runs. The same Cargo.lock gives the same bytes.
"""

import hashlib
import json
import sys
import uuid


def checksums(lock):
    """The hash of each crate in Cargo.lock, by name and version."""
    found, entry = {}, {}
    for line in lock.splitlines() + ["[[package]]"]:
        if line == "[[package]]":
            if "checksum" in entry:
                found[entry["name"], entry["version"]] = entry["checksum"]
            entry = {}
        elif " = \"" in line:
            key, value = line.split(" = ", 1)
            entry[key] = value.strip('"')
    return found


def linked(graph):
    """The packages that the root needs at run time, each with those that it needs itself."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    found, waiting = {}, [graph["root"]]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        needs = [
            dep["pkg"]
            for dep in nodes[here]["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"])
        ]
        found[here] = sorted(needs)
        waiting += needs
    return found


def component(package, hashes):
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    made = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package.get("description"):
        made["description"] = " ".join(package["description"].split())
    if package.get("license"):
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in hashes:
        made["hashes"] = [{"alg": "SHA-256", "content": hashes[name, version]}]
    if package.get("repository"):
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lock = file.read()
    metadata = json.load(sys.stdin)
    packages = {package["id"]: package for package in metadata["packages"]}
    graph, hashes = metadata["resolve"], checksums(lock)
    needs = linked(graph)
    made = {package: component(packages[package], hashes) for package in needs}
    root = made.pop(graph["root"])
    root["type"] = "application"
    refs = {package: f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}" for package in needs}
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "urn:uuid:" + str(uuid.UUID(bytes=hashlib.sha256(lock.encode()).digest()[:16], version=4)),
        "version": 1,
        "metadata": {"component": root},
        "components": sorted(made.values(), key=lambda one: one["purl"]),
        "dependencies": sorted(
            ({"ref": refs[package], "dependsOn": sorted({refs[of] for of in of_it})} for package, of_it in needs.items()),
            key=lambda one: one["ref"],
        ),
    }
    json.dump(bom, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
