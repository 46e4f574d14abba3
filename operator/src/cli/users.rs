//! `gatehouse users add`: an entry for the Secret of `identity.local`.

use std::io::{BufRead, IsTerminal, stdin};

use argon2::{Argon2, PasswordHasher, password_hash::SaltString};
use clap::{Args, Subcommand};
use gatehouse_gateway_config::{identity::LocalUser, users::Users};
use rand::Rng;
use zeroize::Zeroizing;

use super::{CliError, print};
use crate::clock::Entropy;

/// Random characters of a uid, of 5 bits each: nobody meets another's.
const UID_LENGTH: usize = 20;
/// Longer passwords are refused at sign-in.
const PASSWORD_LIMIT: usize = 1024;

/// Manage the users of identity.local.
#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    Add(AddArgs),
}

/// Print an entry for the Secret that identity.local.usersSecretRef names.
///
/// The password is asked for, or read as the first line of the standard input; it is never an argument, which other
/// processes could see. Append the entry to the list in the Secret.
#[derive(Debug, Args)]
struct AddArgs {
    /// The name to sign in with.
    name: String,
    /// The e-mail address; it counts as verified.
    #[arg(long)]
    email: Option<String>,
    /// A group. May be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Also ask for the user's upstream token, or read it as the second line; fromIdentity injects it.
    #[arg(long)]
    with_token: bool,
}

pub(super) fn run(args: UsersArgs) -> Result<(), CliError> {
    let UsersCommand::Add(args) = args.command;
    let password = secret("Password: ", true)?;
    let token = if args.with_token { Some(secret("Upstream token: ", false)?.to_string()) } else { None };
    let user = user(args, &password, token, &Entropy::system())?;
    print(&entry(&user)?)
}

/// A user with a random uid and an argon2id hash of the password.
fn user(
    args: AddArgs,
    password: &str,
    token: Option<String>,
    entropy: &Entropy,
) -> Result<LocalUser, CliError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    if password.is_empty() || password.len() > PASSWORD_LIMIT {
        return Err(CliError::Input(format!("the password must have 1 to {PASSWORD_LIMIT} bytes")));
    }
    let (salt, uid) = entropy.with(|rng| {
        let (mut salt, mut uid) = ([0_u8; 16], [0_u8; UID_LENGTH]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut uid);
        (salt, uid.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect())
    });
    let failed = |e: argon2::password_hash::Error| CliError::Failed(format!("cannot hash the password: {e}"));
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(LocalUser {
        name: args.name,
        uid,
        password_hash: hash.to_string(),
        email: args.email,
        groups: args.groups,
        token,
    })
}

/// The user as a list of one, checked by the very rules of the gateway.
fn entry(user: &LocalUser) -> Result<String, CliError> {
    // A hash stays on one line, so that it can be copied.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 4096, min_fold_chars: 4096 };
    let text = serde_saphyr::to_string_with_options(&[user], options)
        .map_err(|e| CliError::Failed(format!("cannot write YAML: {e}")))?;
    Users::parse(text.as_bytes()).map_err(|e| CliError::Input(e.to_string()))?;
    Ok(text)
}

/// A line that is not shown: asked for on a terminal, twice where `confirm` is set, else read from the standard input.
fn secret(prompt: &str, confirm: bool) -> Result<Zeroizing<String>, CliError> {
    let failed = |e: std::io::Error| CliError::Failed(format!("cannot read from the terminal: {e}"));
    if !stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        stdin().lock().read_line(&mut line).map_err(failed)?;
        return Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let first = Zeroizing::new(rpassword::prompt_password(prompt).map_err(failed)?);
    if confirm {
        let second = Zeroizing::new(rpassword::prompt_password("Again: ").map_err(failed)?);
        if first != second {
            return Err(CliError::Input("the two passwords differ".to_owned()));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHash, PasswordVerifier};

    use super::*;

    fn args(name: &str) -> AddArgs {
        AddArgs {
            name: name.to_owned(),
            email: Some("alice@example.com".to_owned()),
            groups: vec!["demo".to_owned()],
            with_token: true,
        }
    }

    #[test]
    fn an_entry_is_what_the_gateway_reads() {
        let user =
            user(args("alice"), "correct horse", Some("gho_x".to_owned()), &Entropy::seeded(1)).unwrap();
        let users = Users::parse(entry(&user).unwrap().as_bytes()).unwrap();
        let read = users.by_name("alice").unwrap();
        assert_eq!(*read, user);
        let hash = PasswordHash::new(&read.password_hash).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &hash).is_ok());
        assert!(Argon2::default().verify_password(b"wrong", &hash).is_err());
    }

    #[test]
    fn the_same_password_has_another_hash_and_another_uid_each_time() {
        let entropy = Entropy::seeded(1);
        let one = user(args("alice"), "x", None, &entropy).unwrap();
        let other = user(args("alice"), "x", None, &entropy).unwrap();
        assert_ne!(one.uid, other.uid);
        assert_ne!(one.password_hash, other.password_hash);
    }

    #[test]
    fn bad_names_and_passwords_are_refused() {
        assert!(matches!(user(args("alice"), "", None, &Entropy::seeded(1)), Err(CliError::Input(_))));
        let spaced = user(args(" alice"), "x", None, &Entropy::seeded(1)).unwrap();
        assert!(matches!(entry(&spaced), Err(CliError::Input(_))));
    }
}
