//! ARCHITECTURE.md names each part of `src/`, docs/README.md each document.

use std::fs;

use super::{code, files, read, root, rows};

#[test]
fn each_room_is_described() {
    let text = read("ARCHITECTURE.md");
    let (_, rooms) = text.split_once("\n## Rooms\n").expect("a part about rooms");
    let (rooms, _) = rooms.split_once("\n## ").unwrap();
    let rows = rows(rooms);
    let described: Vec<&str> = rows.iter().flat_map(|row| code(row[0])).collect();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            name == "lib" || described.contains(&name.as_str()),
            "ARCHITECTURE.md says nothing of src/{name}"
        );
    }
}

#[test]
fn each_document_is_in_the_index() {
    let index = read("docs/README.md");
    for file in files(&root().join("docs"), ".md") {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "docs/README.md does not name {name}"
        );
    }
}
