//! The article's files on AWS, with programs: each instance of the account is a machine on a network that the test makes,
//! at the instance's addresses, with the host key that its console shows and a Docker daemon of its own, which has an image
//! of the article's name. It takes the connections that the rules of its security groups let in, and no others. Names lead
//! where the account's zone says, or where a test does, and an authority on the network makes certificates.

mod cloud;
mod delegation;
mod hosted_zone;
mod moving_address;
mod own_dns;
mod replaced_gateway;
mod separate;
