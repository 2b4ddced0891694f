//! What a bench's options mean for what has to be there before it starts.

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Builds that the caller names.
    pub(super) builds: usize,
    pub(super) wants_database: bool,
    pub(super) wants_reference: bool,
    /// A gateway in a network namespace of its own.
    pub(super) has_namespaces: bool,
}

impl Request {
    pub(super) fn of(arguments: &[String]) -> Self {
        let mut request = Self {
            builds: 0,
            wants_database: true,
            wants_reference: true,
            has_namespaces: false,
        };
        let mut option = "";
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            match name {
                "--gateway-bin" => request.builds += 1,
                "--no-gateway" => request.wants_database = false,
                "--serve-upstream" | "--help" | "-h" => {
                    request.wants_database = false;
                    request.wants_reference = false;
                }
                "--no-yardsticks" | "--profile" => request.wants_reference = false,
                "--network" if argument.contains('=') => request.has_namespaces = value == "veth",
                _ if option == "--network" => request.has_namespaces = argument == "veth",
                _ => {}
            }
            option = argument;
        }
        request
    }

    /// Three more for the variants of the first build.
    pub(super) fn databases(&self) -> usize {
        self.builds.max(1) + 3
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    fn of(arguments: &[&str]) -> Request {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Request::of(&arguments)
    }

    #[test]
    fn each_build_has_a_database_and_the_first_has_three_more() {
        let plain = of(&["--duration", "1"]);
        assert!(plain.wants_database && plain.wants_reference && !plain.has_namespaces);
        assert_eq!((plain.builds, plain.databases()), (0, 4));
        assert_eq!(of(&["--gateway-bin", "a=/a", "--gateway-bin=b=/b"]).databases(), 5);
    }

    #[test]
    fn what_is_not_measured_is_not_prepared() {
        assert!(!of(&["--no-gateway"]).wants_database);
        assert!(!of(&["--no-yardsticks"]).wants_reference);
        let help = of(&["--help"]);
        assert!(!help.wants_database && !help.wants_reference);
        assert!(of(&["--network", "veth"]).has_namespaces && of(&["--network=veth"]).has_namespaces);
        assert!(!of(&["--network", "veth", "--network=loopback"]).has_namespaces);
    }
}
