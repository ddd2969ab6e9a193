//! docs/etcd-tests.md tells the truth: each finding stands there once, and each test that it names exists.

mod tables;

#[test]
fn each_finding_stands_in_the_table_with_tests_that_exist() {
    let tests = tables::tests(&["src/registry/etcd", "src/source/etcd", "tests", "integration"]);
    tables::check(&tables::table("docs/etcd-tests.md"), &tests, 35);
}
