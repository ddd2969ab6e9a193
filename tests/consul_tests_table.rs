//! docs/consul-tests.md tells the truth: each finding stands there once, and each test that it names exists.

mod tables;

#[test]
fn each_finding_stands_in_the_table_with_tests_that_exist() {
    let tests = tables::tests(&["src/registry/consul", "src/source/consul", "tests", "integration"]);
    tables::check(&tables::table("docs/consul-tests.md"), &tests, 42);
}
