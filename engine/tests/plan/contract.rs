//! A provider that breaks its contract is told so, in words for its author.

use std::sync::Arc;

use gabion_engine::provider::ProviderRegistry;
use insta::assert_snapshot;

use crate::support::{Scenario, Toy};

#[test]
fn a_breach_names_provider_address_path_wanted_and_got() {
    let mut scenario = Scenario::new("box a: {size: 3}");
    scenario.providers = ProviderRegistry::default();
    let mut toy = Toy::default();
    toy.breaks_contract = true;
    scenario.providers.register(Arc::new(toy));
    assert_snapshot!(scenario.problems(), @r"
    error: a provider broke its contract
      --> main.gabion.yml:3:7
    3 | kind: box
      |       ^^^
       The provider `toy` planned `colour` of `box.a` wrongly.
       wanted: an attribute of the schema
       got: one that it does not have
    hint: this is a bug in the provider: report this to the provider's authors

    error: a provider broke its contract
      --> main.gabion.yml:5:20
    5 | properties: {size: 3}
      |                    ^
       The provider `toy` planned `size` of `box.a` wrongly.
       wanted: `3`
       got: `99`
    hint: this is a bug in the provider: report this to the provider's authors
    ");
}
