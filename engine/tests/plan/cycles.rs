//! Cycles: the shortest one, with the place of each edge and the edge to cut.

use insta::assert_snapshot;

use crate::support::Scenario;

#[test]
fn a_cycle_prints_its_path_with_places() {
    let scenario = Scenario::new(
        "box a: {input: '${{ box.b.output }}'}
box b: {input: '${{ box.c.output }}'}
box c: {input: 1} | depends_on: [box.a]
box d: {input: '${{ box.a.output }}'} | depends_on: [box.e]
box e: {input: '${{ box.d.output }} ${{ box.f.output }}'}
box f: {input: '${{ box.d.output }}'}",
    );
    assert_snapshot!(scenario.problems(), @r"
    error: dependency cycle
      --> main.gabion.yml:24:14
    24 | depends_on: [box.e]
       |              ^^^^^
       Each of these depends on the next, so none can be first: `box.d` -> `box.e` -> `box.d`.
      --> main.gabion.yml:24:14: `box.d` names `box.e` in depends_on
      --> main.gabion.yml:29:21: `input` of `box.e` refers to `box.d`
    hint: remove `box.e` from the depends_on of `box.d`: it orders and passes no value
    ");
}

#[test]
fn a_resource_cannot_refer_to_itself() {
    let scenario = Scenario::new("box a: {input: '${{ box.a.output }}'}");
    assert_snapshot!(scenario.problems(), @r"
    error: dependency cycle
      --> main.gabion.yml:5:21
    5 | properties: {input: '${{ box.a.output }}'}
      |                     ^^^^^^^^^^^^^^^^^^^^^
       Each of these depends on the next, so none can be first: `box.a` -> `box.a`.
      --> main.gabion.yml:5:21: `input` of `box.a` refers to `box.a`
    hint: take one of these references out, or move what both need into a third resource
    ");
}
