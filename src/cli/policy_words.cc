// SPDX-License-Identifier: Apache-2.0
#include "cli/policy_words.h"

#include "base/printable.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "config/vm_plan.h"
#include "http/header.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

std::unexpected<Error> wrong_words(std::string message, std::string fix) {
  return fail(
      Error{.message = std::move(message), .fix = std::move(fix), .exit_status = kUsageStatus});
}

}  // namespace

void add_policy_words(CLI::App& command, PolicyWords& words) {
  command.add_option("--policy", words.policies,
                     "a policy file for this session; may be given again");
  command.add_option("--config", words.config, "instead of ./pinhole.yaml");
  command.add_flag("--no-config", words.no_config, "do not read ./pinhole.yaml");
  command.add_flag("--json", words.json, "print JSON");
}

void add_vm_word(CLI::App& command, PolicyWords& words) {
  auto* vm = command.add_option("--vm", words.vm, "the policy that this VM has");
  for (const char* option : {"--policy", "--config", "--no-config"})
    command.get_option(option)->excludes(vm);
}

std::optional<fs::path> project_file(const std::string& config, bool no_config) {
  if (no_config) return std::nullopt;
  if (!config.empty()) return fs::path(config);
  std::error_code error;
  // A link that leads nowhere is there too: it is no reason to start with fewer rules than the
  // project has.
  if (fs::exists(fs::symlink_status("pinhole.yaml", error))) return fs::path("pinhole.yaml");
  return std::nullopt;
}

Result<preflight::Policies> look_at_policies(const PolicyWords& words) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  preflight::PolicySources sources{.project = project_file(words.config, words.no_config),
                                   .only_look = true};
  for (const std::string& file : words.policies) sources.session.emplace_back(file);
  PINHOLE_TRY(preflight::Policies policies, preflight::gather_policies(paths, sources));
  if (!policies.project_is_trusted) {
    print_note(fmt::format("note: {} is not trusted yet: `pinhole up` would stop",
                           printable(sources.project->string())));
  }
  return policies;
}

Result<policy::Policy> policy_of(const Vm& vm) {
  PINHOLE_TRY(const std::string text, sys::read_file(vm.paths.plan, config::kLargestConfigFile));
  PINHOLE_TRY(const config::VmPlan plan, config::parse_vm_plan(text));
  std::vector<policy::Layer> layers;
  for (const config::PolicyLayer& copy : plan.policy) {
    PINHOLE_TRY(std::string content, sys::read_file(copy.path, config::kLargestConfigFile));
    PINHOLE_TRY(policy::Layer layer,
                preflight::parse_layer(
                    {.layer = copy.layer, .name = copy.name, .text = std::move(content)}));
    layers.push_back(std::move(layer));
  }
  return policy::Policy::compile(std::move(layers));
}

Result<policy::Policy> chosen_policy(const PolicyWords& words) {
  if (!words.vm.empty()) {
    PINHOLE_TRY(const Vm vm, find_vm(words.vm));
    return policy_of(vm);
  }
  PINHOLE_TRY(preflight::Policies policies, look_at_policies(words));
  return std::move(policies.policy);
}

Result<policy::Request> read_request(const std::string& method, const std::string& target) {
  if (method == "CONNECT") {
    auto authority = http::parse_authority(target);
    if (!authority)
      return wrong_words(authority.error().detail, "for example CONNECT db.example.com:5432");
    const std::optional<std::uint16_t> port = authority->port;
    if (!port) {
      return wrong_words(fmt::format("CONNECT needs a port: {}", printable(target, 80)),
                         fmt::format("CONNECT {}:443", authority->host.in_url()));
    }
    return policy::Request::connect(std::move(authority->host), *port);
  }
  if (!http::is_token(method)) {
    return wrong_words(fmt::format("\"{}\" is not a method", printable(method, 40)),
                       "a method in upper case, such as GET");
  }
  const auto url = http::parse_url(target);
  if (!url) return wrong_words(url.error().detail, "a whole URL, such as https://example.com/path");
  return policy::Request::of(method, *url);
}

std::string_view to_string(policy::Action action) {
  return action == policy::Action::allow ? "allow" : "deny";
}

std::string_view to_string(policy::Handling handling) {
  switch (handling) {
    case policy::Handling::inspect:
      return "inspect";
    case policy::Handling::tunnel:
      return "tunnel";
    case policy::Handling::raw:
      return "raw";
  }
  return "";
}

}  // namespace pinhole::cli
