// SPDX-License-Identifier: Apache-2.0
#include "agent/settings.h"

#include <array>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

Error usage_error(std::string message) {
  return {.message = std::move(message), .fix = "pinhole-agent --help", .exit_status = 2};
}

Result<void> set_endpoint(Endpoint& target, const std::string& value) {
  PINHOLE_TRY(target, parse_endpoint(value));
  return {};
}

Result<void> set_port(Settings& settings, const std::string& value) {
  const auto port = parse_u64(value);
  if (!port || *port > 65535) return fail("\"{}\" is not a port", printable(value));
  settings.proxy_port = static_cast<std::uint16_t>(*port);
  return {};
}

struct Option {
  std::string_view name;
  Result<void> (*set)(Settings&, const std::string&);
};
constexpr std::array kOptions = {
    Option{"--hello", [](Settings& s, const std::string& v) { return set_endpoint(s.hello, v); }},
    Option{"--door", [](Settings& s, const std::string& v) { return set_endpoint(s.door, v); }},
    Option{"--listen",
           [](Settings& s, const std::string& v) { return set_endpoint(s.operations, v); }},
    Option{"--proxy-port", set_port},
    Option{"--run-dir",
           [](Settings& s, const std::string& v) { return s.run_dir = v, Result<void>(); }},
    Option{"--workspace",
           [](Settings& s, const std::string& v) { return s.workspace = v, Result<void>(); }},
    Option{"--root", [](Settings& s, const std::string& v) { return s.root = v, Result<void>(); }},
};

}  // namespace

Result<Settings> parse_settings(const std::vector<std::string>& args) {
  Settings settings;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& name = args[i];
    if (name == "--no-network-setup") {
      settings.network_setup = false;
      continue;
    }
    if (name == "--no-clock") {
      settings.set_clock = false;
      continue;
    }
    if (name == "--no-power-off") {
      settings.may_power_off = false;
      continue;
    }
    const Option* found = nullptr;
    for (const Option& option : kOptions) {
      if (option.name == name) found = &option;
    }
    if (found == nullptr) {
      return fail(usage_error(fmt::format("unknown option \"{}\"", printable(name))));
    }
    if (i + 1 == args.size()) return fail(usage_error(fmt::format("{} needs a value", name)));
    if (auto set = found->set(settings, args[++i]); !set) {
      return fail(usage_error(fmt::format("{}: {}", name, set.error().message)));
    }
  }
  return settings;
}

}  // namespace pinhole::agent
