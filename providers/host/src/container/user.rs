//! Users and groups by the files of an image, or of a machine: a static program cannot ask its libraries.

/// A user with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Option<String>,
}

/// Finds who `USER`, `UID`, `USER:GROUP` and their mixtures are, as Docker does; `passwd` and `group` are the files' texts, and `whose` they
/// are is said in errors.
///
/// # Errors
/// A sentence when a name is in neither.
pub(crate) fn find(wanted: &str, whose: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user, of_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        let home = fields.nth(1).filter(|home| !home.is_empty());
        (name == user || user.parse() == Ok(uid)).then_some((name, uid, gid, home))
    });
    let (uid, mut gid) = match (&entry, user.parse::<u32>()) {
        (Some((_, uid, gid, _)), _) => (*uid, *gid),
        (None, Ok(uid)) => (uid, 0),
        (None, Err(_)) => return Err(format!("{whose} has no user {user:?}")),
    };
    let known: Vec<(&str, u32, &str)> = group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or_default()))
        })
        .collect();
    let mut groups: Vec<u32> = Vec::new();
    match of_group {
        Some(wanted) => {
            let named = known.iter().find(|(name, _, _)| *name == wanted);
            gid = match (named, wanted.parse()) {
                (Some((_, gid, _)), _) => *gid,
                (None, Ok(gid)) => gid,
                (None, Err(_)) => return Err(format!("{whose} has no group {wanted:?}")),
            };
        }
        // With a group of its own it has no others.
        None => {
            let name = entry.as_ref().map(|(name, ..)| *name);
            groups.extend(known.iter().filter_map(|(_, gid, members)| {
                let is_member = name.is_some_and(|name| members.split(',').any(|member| member == name));
                is_member.then_some(*gid)
            }));
        }
    }
    Ok(Identity {
        uid,
        gid,
        groups,
        home: entry.and_then(|(_, _, _, home)| home.map(str::to_owned)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_those_of_the_image() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nllm:x:1000:1001::/home/llm:/bin/sh\n";
        let group = "root:x:0:\nllm:x:1001:\nvideo:x:44:llm,other\nrender:x:105:other\n";
        let show = |wanted: &str| match find(wanted, "the image", passwd, group) {
            Ok(found) => format!(
                "{}:{} {:?} {}",
                found.uid,
                found.gid,
                found.groups,
                found.home.as_deref().unwrap_or("-")
            ),
            Err(why) => why,
        };
        for (wanted, expected) in [
            ("llm", "1000:1001 [44] /home/llm"),
            ("1000", "1000:1001 [44] /home/llm"),
            ("llm:video", "1000:44 [] /home/llm"),
            ("llm:7", "1000:7 [] /home/llm"),
            ("2000", "2000:0 [] -"),
            ("2000:2001", "2000:2001 [] -"),
            ("0:0", "0:0 [] /root"),
            ("nobody", "the image has no user \"nobody\""),
            ("llm:none", "the image has no group \"none\""),
        ] {
            assert_eq!(show(wanted), expected, "{wanted}");
        }
    }
}
