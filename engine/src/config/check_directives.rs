//! Checks of moves, removals and imports against each other and against what is declared.

use std::collections::{BTreeMap, BTreeSet};

use super::check::DeclaredAddresses;
use super::sources::Sources;
use crate::address::ResourceAddress;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::resource::{Directives, Import, Moved, Place, Removed};

/// The check, and what it found.
pub(super) struct DirectiveCheck<'a> {
    pub(super) declared: &'a DeclaredAddresses,
    pub(super) sources: &'a Sources,
    /// Whether an address is declared, or may be.
    pub(super) exists: &'a dyn Fn(&ResourceAddress) -> bool,
    /// Targets that nothing declares, for the caller to report.
    pub(super) undeclared: Vec<(ResourceAddress, Place)>,
    pub(super) problems: Diagnostics,
}

impl DirectiveCheck<'_> {
    pub(super) fn check(&mut self, directives: &Directives) {
        let targets: BTreeSet<&ResourceAddress> = directives.moved.iter().map(|moved| &moved.to).collect();
        let sources: BTreeSet<&ResourceAddress> = directives.moved.iter().map(|moved| &moved.from).collect();
        let (mut first_from, mut first_to) = (BTreeMap::new(), BTreeMap::new());
        for moved in &directives.moved {
            self.moved(moved, &targets, &sources);
            if moved.from == moved.to {
                continue;
            }
            let again = |address: &ResourceAddress| move_problem(format!("`{address}` is moved twice."));
            self.once(&mut first_from, &moved.from, &moved.place, again);
            let again =
                |address: &ResourceAddress| move_problem(format!("Two objects are moved to `{address}`."));
            self.once(&mut first_to, &moved.to, &moved.place, again);
        }
        let mut removed = BTreeMap::new();
        for gone in &directives.removed {
            self.removed(gone, &first_from);
            let again = |address: &ResourceAddress| removal_problem(format!("`{address}` is removed twice."));
            self.once(&mut removed, &gone.from, &gone.place, again);
        }
        let mut imported = BTreeMap::new();
        for import in &directives.imports {
            self.imported(import, &first_to);
            let again = |address: &ResourceAddress| {
                import_problem(format!("Two objects are imported as `{address}`."))
            };
            self.once(&mut imported, &import.to, &import.place, again);
        }
    }

    fn moved(
        &mut self,
        moved: &Moved,
        targets: &BTreeSet<&ResourceAddress>,
        sources: &BTreeSet<&ResourceAddress>,
    ) {
        let (from, to) = (&moved.from, &moved.to);
        if from == to {
            let problem = move_problem(format!("`{from}` is moved to itself."));
            self.push(problem.hint("remove the document"), &moved.place, None);
            return;
        }
        if from.resource_type != to.resource_type {
            let problem = move_problem(format!(
                "`{from}` cannot become `{to}`: an object keeps its kind."
            ));
            self.push(
                problem.hint("an object of another kind is a new object"),
                &moved.place,
                None,
            );
        }
        // In a swap or chain the source is declared because another object moves there.
        if let Some(place) = self.declared.place(from).filter(|_| !targets.contains(from)) {
            let problem = move_problem(format!(
                "`{from}` is still declared, so its object has not moved."
            ))
            .hint("rename the declaration, or remove this document");
            self.push(problem, &moved.place, Some((place, "declared here")));
        }
        // A chain's middle is declared nowhere any more, and need not be.
        if !(self.exists)(to) && !sources.contains(to) {
            self.undeclared.push((to.clone(), moved.place.clone()));
        }
    }

    fn removed(&mut self, gone: &Removed, moved: &BTreeMap<&ResourceAddress, &Place>) {
        let from = &gone.from;
        if let Some(place) = self.declared.place(from) {
            let problem = removal_problem(format!("`{from}` is removed and still declared."));
            self.push(problem, &gone.place, Some((place, "declared here")));
        }
        if let Some(place) = moved.get(from) {
            let problem = removal_problem(format!("`{from}` is removed and moved."));
            self.push(problem, &gone.place, Some((place, "moved here")));
        }
    }

    fn imported(&mut self, import: &Import, moved_to: &BTreeMap<&ResourceAddress, &Place>) {
        let to = &import.to;
        if let Some(place) = moved_to.get(to) {
            let problem = import_problem(format!(
                "An object is imported as `{to}`, and another is moved there."
            ));
            self.push(problem, &import.place, Some((place, "moved here")));
        }
        if !(self.exists)(to) {
            self.undeclared.push((to.clone(), import.place.clone()));
        }
    }

    /// Reports an address that an earlier directive of the same kind has taken.
    fn once<'d>(
        &mut self,
        taken: &mut BTreeMap<&'d ResourceAddress, &'d Place>,
        address: &'d ResourceAddress,
        place: &'d Place,
        problem: impl FnOnce(&ResourceAddress) -> Diagnostic,
    ) {
        match taken.get(address) {
            Some(first) => self.push(problem(address), place, Some((first, "the first is here"))),
            None => {
                taken.insert(address, place);
            }
        }
    }

    fn push(&mut self, problem: Diagnostic, place: &Place, other: Option<(&Place, &str)>) {
        let mut problem = problem.at(self.sources.span(place));
        if let Some((span, message)) =
            other.and_then(|(place, message)| Some((self.sources.span(place)?, message)))
        {
            problem = problem.related(span, message);
        }
        self.problems.push(problem);
    }
}

fn move_problem(detail: String) -> Diagnostic {
    Diagnostic::error("bad-move", "move that cannot be done")
        .detail(detail)
        .hint("remove one of the two")
}

fn removal_problem(detail: String) -> Diagnostic {
    Diagnostic::error("bad-removal", "removal that cannot be done")
        .detail(detail)
        .hint("remove one of the two")
}

fn import_problem(detail: String) -> Diagnostic {
    Diagnostic::error("bad-import", "import that cannot be done")
        .detail(detail)
        .hint("remove one of the two")
}
