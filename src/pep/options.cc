// SPDX-License-Identifier: Apache-2.0
#include "pep/options.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/strings.h"

namespace pinhole::pep {
namespace {

using Handler = Result<void> (*)(Options& options, std::string_view value);

std::unexpected<Error> usage_error(std::string message) {
  return std::unexpected(
      Error{.message = std::move(message), .fix = "pinhole pep --help", .exit_status = 2});
}

Result<int> parse_fd(std::string_view text) {
  const auto number = parse_u64(text);
  if (!number || *number < 3 || *number > std::numeric_limits<int>::max()) {
    return usage_error(fmt::format("\"{}\" is not a descriptor number from 3 up", text));
  }
  return static_cast<int>(*number);
}

Result<void> add_policy(Options& options, std::string_view value) {
  struct Name {
    std::string_view name;
    policy::LayerKind kind;
  };
  constexpr std::array kNames = {
      Name{"organisation", policy::LayerKind::organisation}, Name{"user", policy::LayerKind::user},
      Name{"project", policy::LayerKind::project}, Name{"session", policy::LayerKind::session}};
  PolicyFile file{.path = value};
  const std::size_t equals = value.find('=');
  if (equals != std::string_view::npos) {
    const auto* layer = std::ranges::find(kNames, value.substr(0, equals), &Name::name);
    if (layer != kNames.end()) file = {.kind = layer->kind, .path = value.substr(equals + 1)};
  }
  if (file.path.empty()) return usage_error("--policy has no file name");
  options.policies.push_back(std::move(file));
  return {};
}

/// 127.0.0.1:3128 or [::1]:0; http::parse_endpoint() knows no port 0.
std::optional<http::Endpoint> parse_tcp(std::string_view text) {
  const bool any_port = text.ends_with(":0");
  auto endpoint =
      http::parse_endpoint(any_port ? std::string(text).replace(text.size() - 1, 1, "1") : text);
  if (endpoint && any_port) endpoint->port = 0;
  return endpoint;
}

Result<void> set_listen_tcp(Options& options, std::string_view text) {
  const auto endpoint = parse_tcp(text);
  if (!endpoint) {
    return usage_error(
        fmt::format("--listen tcp:{}: give an address and a port, as in tcp:127.0.0.1:3128", text));
  }
  if (http::classify(endpoint->address).name != "loopback") {
    return usage_error(fmt::format(
        "--listen tcp:{}: only 127.0.0.1 and [::1] are possible, since the token comes in clear",
        text));
  }
  options.listen_tcp = endpoint;
  return {};
}

Result<void> set_listen(Options& options, std::string_view value) {
  if (value.starts_with("fd:")) {
    PINHOLE_TRY(options.listen_fd, parse_fd(value.substr(3)));
    return {};
  }
  if (value.starts_with("unix:") && value.size() > 5) {
    options.listen_path = value.substr(5);
    return {};
  }
  if (value.starts_with("tcp:")) return set_listen_tcp(options, value.substr(4));
  return usage_error(fmt::format("--listen {}: give unix:PATH, tcp:127.0.0.1:PORT or fd:N", value));
}

Result<void> set_log_level(Options& options, std::string_view value) {
  constexpr std::array<std::string_view, 4> kLevels = {"error", "warning", "info", "debug"};
  const auto* found = std::ranges::find(kLevels, value);
  if (found == kLevels.end())
    return usage_error(fmt::format("--log-level {}: give error, warning, info or debug", value));
  options.log_level = static_cast<LogLevel>(found - kLevels.begin());
  return {};
}

struct Flag {
  std::string_view name;
  bool has_value;
  Handler handle;
};
constexpr std::array kFlags = {
    Flag{"--policy", true, add_policy},
    Flag{"--foreign-keys", true,
         [](Options& options, std::string_view value) -> Result<void> {
           for (const auto key : split(value, ',')) options.foreign_keys.emplace_back(key);
           return {};
         }},
    Flag{"--listen", true, set_listen},
    Flag{"--token-file", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.token_file = value;
           return {};
         }},
    Flag{"--placeholders", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.placeholders = value;
           return {};
         }},
    Flag{"--audit", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.audit = value;
           return {};
         }},
    Flag{"--vm", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.vm = value;
           return {};
         }},
    Flag{"--boot", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.boot = value;
           return {};
         }},
    Flag{"--image", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.image = value;
           return {};
         }},
    Flag{"--control-fd", true,
         [](Options& options, std::string_view value) -> Result<void> {
           PINHOLE_TRY(options.control_fd, parse_fd(value));
           return {};
         }},
    Flag{"--authority", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.authority = value;
           return {};
         }},
    Flag{"--create-authority", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.create_authority = value;
           return {};
         }},
    Flag{"--canary", false,
         [](Options& options, std::string_view) -> Result<void> {
           options.canary = true;
           return {};
         }},
    Flag{"--resolv-conf", true,
         [](Options& options, std::string_view value) -> Result<void> {
           options.resolv_conf = value;
           return {};
         }},
    Flag{"--log-level", true, set_log_level},
    Flag{"--help", false,
         [](Options& options, std::string_view) -> Result<void> {
           options.help = true;
           return {};
         }},
};

std::unexpected<Error> unknown_flag(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& flag : kFlags) names.push_back(flag.name);
  const auto close = closest(name, names);
  return usage_error(
      fmt::format("unknown argument \"{}\"{}", name,
                  close ? fmt::format("; did you mean {}?", *close) : std::string()));
}

Result<void> check_listen(const Options& options) {
  const int given = static_cast<int>(!options.listen_path.empty()) +
                    static_cast<int>(options.listen_fd.has_value()) +
                    static_cast<int>(options.listen_tcp.has_value());
  if (given == 0) return usage_error("--listen is missing");
  if (given > 1) return usage_error("--listen can be given once");
  if (options.listen_tcp && options.token_file.empty()) {
    return usage_error(
        "--listen tcp: needs --token-file FILE: every user of this host reaches the port");
  }
  return {};
}

}  // namespace

const std::string_view kUsage =
    "usage: pinhole pep --policy [LAYER=]FILE … --listen unix:PATH|tcp:127.0.0.1:PORT|fd:N\n"
    "                   --audit FILE [options]\n"
    "\n"
    "An HTTP proxy that lets through what the policy allows and writes each decision down.\n"
    "\n"
    "  --policy [LAYER=]FILE   organisation, user, project or session; user where not said. "
    "Repeatable;\n"
    "                          without any, everything is denied\n"
    "  --foreign-keys A,B      top-level keys of those files that are not the policy's\n"
    "  --listen unix:PATH      where programs reach the proxy; fd:N is an inherited listening "
    "socket\n"
    "  --listen tcp:127.0.0.1:PORT\n"
    "                          the same, for whoever shows the token; [::1] too. Port 0: any that "
    "is\n"
    "                          free; the line \"ready\" tells which\n"
    "  --token-file FILE       mode 0600, 16 bytes or more; programs show it as the password of "
    "the\n"
    "                          proxy's address: http://x:TOKEN@127.0.0.1:PORT\n"
    "  --audit FILE            the audit log, continued if it exists\n"
    "  --vm NAME --boot ID --image HASH\n"
    "                          written into the audit log\n"
    "  --control-fd N          JSON lines to and from a supervisor; its end ends the proxy\n"
    "  --authority DIR         the certificate authority by which TLS is looked into; without one "
    "it is not\n"
    "  --create-authority DIR --vm NAME\n"
    "                          make that authority where it is missing, check it, and end\n"
    "  --placeholders FILE     written at the start: a JSON object of the secrets' names and what "
    "programs\n"
    "                          use in their place\n"
    "  --canary                answer GET http://canary.pinhole.internal/ from an origin of its "
    "own\n"
    "  --resolv-conf FILE      name servers (/etc/resolv.conf); read again when it changes\n"
    "  --log-level LEVEL       error, warning, info, debug\n"
    "\n"
    "example:\n"
    "  pinhole pep --policy policy.yaml --listen unix:/tmp/door.sock --audit audit.jsonl\n"
    "  pinhole pep --policy policy.yaml --listen tcp:127.0.0.1:3128 --token-file token "
    "--audit audit.jsonl\n";

Result<Options> parse_options(std::span<const std::string_view> arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const auto* flag = std::ranges::find(kFlags, name, &Flag::name);
    if (flag == kFlags.end()) return unknown_flag(name);
    std::string_view value;
    if (equals != std::string_view::npos) {
      if (!flag->has_value) return usage_error(fmt::format("{} takes no value", name));
      value = argument.substr(equals + 1);
    } else if (flag->has_value) {
      if (++i == arguments.size()) return usage_error(fmt::format("{} needs a value", name));
      value = arguments[i];
    }
    PINHOLE_TRY_VOID(flag->handle(options, value));
  }
  if (options.help) return options;
  if (!options.create_authority.empty()) {
    if (options.vm.empty()) return usage_error("--create-authority needs --vm NAME");
    return options;
  }
  PINHOLE_TRY_VOID(check_listen(options));
  if (options.audit.empty()) return usage_error("--audit is missing: no decision without a record");
  if (!options.placeholders.empty() && options.authority.empty())
    return usage_error("--placeholders needs --authority DIR, which holds their seed");
  return options;
}

}  // namespace pinhole::pep
