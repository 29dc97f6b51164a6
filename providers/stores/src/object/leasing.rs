//! The lease: an object of its own, so that heartbeats and appends do not stand in each other's way.
//!
//! Who takes it writes the lease object, then raises the manifest's fence, and only then has it: from that change of the
//! manifest on no append under an earlier epoch can succeed. Who gives it back lowers the fence first.

use std::time::Duration;

use bytes::Bytes;
use gabion_engine::state::store::{LeaseGrant, LeaseRequest, LeaseView};
use gabion_engine::state::{FORMAT_VERSION, StoreError};
use jiff::Timestamp;
use object_store::UpdateVersion;

use super::core::Core;
use super::manifest::{Fence, LAYOUT, LeaseObject, Manifest};
use super::names::LEASE;
use super::place::{Place, Swapped};
use super::proof;
use super::writing::CHANGES;

impl Core {
    /// Reads the lease object; `None` when nobody ever took the lease.
    pub(super) async fn lease_object(&self) -> Result<Option<(LeaseObject, UpdateVersion)>, StoreError> {
        self.lease_at(&self.place).await
    }

    async fn lease_at(&self, place: &Place) -> Result<Option<(LeaseObject, UpdateVersion)>, StoreError> {
        match place.get(LEASE).await? {
            Some(found) => Ok(Some((self.proven(LEASE, &found.bytes)?, found.version))),
            None => Ok(None),
        }
    }

    /// Returns the lease, if somebody holds it.
    pub(super) async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        match self.lease_object().await? {
            Some((lease, _)) => Ok(lease.held),
            // Nobody took it, or there is no state at all.
            None => self.manifest().await.map(|_| None),
        }
    }

    pub(super) async fn put_lease(
        &self,
        place: &Place,
        lease: &LeaseObject,
        expected: Option<&UpdateVersion>,
    ) -> Result<Swapped, StoreError> {
        let bytes = Bytes::from(proof::encode(lease));
        let swapped = place.swap(LEASE, bytes, expected).await;
        self.learn_lease(match &swapped {
            Ok(Swapped::Done(version)) => Some((lease.clone(), version.clone())),
            _ => None,
        });
        swapped
    }

    /// Takes the lease.
    pub(super) async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        for _ in 0..CHANGES {
            let (manifest, _) = self.manifest().await?;
            let (before, version) = self.lease_object().await?.unzip();
            let highest = match &before {
                Some(lease) => lease.epoch.max(manifest.fence.epoch),
                None => manifest.fence.epoch,
            }
            .max(manifest.floor);
            // The lease of a log that another one took the place of holds nothing any more: the fence is what counts.
            let before =
                before.filter(|lease| lease.lineage == manifest.head.lineage || manifest.admits(lease.epoch));
            if let Some(held) = before.and_then(|lease| lease.held)
                && request.replaces != Some(held.seen())
            {
                return Err(StoreError::Locked(Box::new(held)));
            }
            let epoch = highest + 1;
            let lease = LeaseObject {
                layout: LAYOUT,
                lineage: manifest.head.lineage,
                write: self.mark(),
                epoch,
                held: Some(LeaseView {
                    epoch,
                    holder: request.holder.clone(),
                    since: request.at,
                    renewed: request.at,
                    beat: 0,
                    length: request.length,
                }),
            };
            // Whoever was first is the one to name, or is gone again.
            if let Swapped::Done(_) = self.put_lease(&self.place, &lease, version.as_ref()).await? {
                let raised = self.raise_fence(epoch).await;
                if raised.is_err() {
                    // Others need not wait for a lease that nobody has. If it cannot be given back, they wait.
                    self.release(epoch).await.ok();
                }
                return raised;
            }
        }
        Err(self
            .place
            .busy("the lease was taken and given back again and again"))
    }

    async fn raise_fence(&self, epoch: u64) -> Result<LeaseGrant, StoreError> {
        let raised = self
            .change_fence(|fence| (fence.epoch < epoch).then_some(Fence { epoch, open: true }))
            .await?;
        if raised == (Fence { epoch, open: true }) {
            return Ok(LeaseGrant { epoch });
        }
        // Somebody took it away in the same moment.
        match self.lost(epoch).await {
            StoreError::LostLease { now: Some(view), .. } => Err(StoreError::Locked(view)),
            lost => Err(lost),
        }
    }

    /// Changes the manifest's fence, unless `change` leaves it as it is, and returns what it is then.
    async fn change_fence(
        &self,
        change: impl Fn(Fence) -> Option<Fence> + Send,
    ) -> Result<Fence, StoreError> {
        for _ in 0..CHANGES {
            let (before, version) = self.manifest().await?;
            let Some(fence) = change(before.fence) else {
                return Ok(before.fence);
            };
            let mut manifest = Manifest {
                // Whoever knows this format alone is kept from reading what follows, and from calling it damaged.
                format_version: FORMAT_VERSION,
                write: self.mark(),
                fence,
                ..before.clone()
            };
            self.noted().write_into(&mut manifest);
            // After a conflict what is there says whether this change was among those that happened.
            if let Swapped::Done(version) = self.put_manifest(&manifest, Some(&version)).await? {
                self.learn_change(&before, &manifest, &version);
                return Ok(fence);
            }
        }
        Err(self.place.busy("the manifest was changed again and again"))
    }

    /// Shows that the holder is alive.
    pub(super) async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        // What is not answered soon is tried again while the lease still lasts.
        let place = self.renewing.within(length / 4);
        let mut known = self.known_lease();
        for _ in 0..CHANGES {
            let seen = known.take().filter(|(lease, _)| held(lease, epoch).is_some());
            let (lease, version) = match seen {
                Some(seen) => seen,
                None => match self.lease_at(&place).await? {
                    Some(read) => read,
                    None => return Err(self.never_held(epoch).await),
                },
            };
            let Some(view) = held(&lease, epoch) else {
                return Err(StoreError::LostLease {
                    epoch,
                    now: lease.held.map(Box::new),
                });
            };
            let renewed = LeaseObject {
                write: self.mark(),
                held: Some(LeaseView {
                    beat: view.beat + 1,
                    length,
                    renewed: at,
                    ..view.clone()
                }),
                ..lease.clone()
            };
            if let Swapped::Done(_) = self.put_lease(&place, &renewed, Some(&version)).await? {
                return Ok(());
            }
        }
        Err(self.place.busy("the lease was changed again and again"))
    }

    async fn never_held(&self, epoch: u64) -> StoreError {
        match self.manifest().await {
            Ok(_) => StoreError::LostLease { epoch, now: None },
            Err(error) => error,
        }
    }

    /// Gives the lease back.
    pub(super) async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        let ours = Fence { epoch, open: true };
        self.change_fence(|fence| (fence == ours).then_some(Fence { epoch, open: false }))
            .await?;
        for _ in 0..CHANGES {
            let Some((lease, version)) = self.lease_object().await? else {
                return Ok(());
            };
            if held(&lease, epoch).is_none() {
                return Ok(());
            }
            let free = LeaseObject {
                write: self.mark(),
                held: None,
                ..lease
            };
            if let Swapped::Done(_) = self.put_lease(&self.place, &free, Some(&version)).await? {
                return Ok(());
            }
        }
        Err(self.place.busy("the lease was changed again and again"))
    }
}

/// Returns the lease if the holder of an epoch holds it.
fn held(lease: &LeaseObject, epoch: u64) -> Option<&LeaseView> {
    lease.held.as_ref().filter(|view| view.epoch == epoch)
}
