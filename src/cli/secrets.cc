// SPDX-License-Identifier: Apache-2.0
#include "cli/secrets.h"

#include <string.h>

#include <boost/json.hpp>

#include "base/json.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "source/secret_source.h"
#include "supervisor/control.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

/// One connection carries one request.
Result<json::object> tell(const Vm& vm, json::object values) {
  PINHOLE_TRY(auto client, connect(vm));
  return client.request({{"v", 1}, {"op", "secrets"}, {"values", std::move(values)}});
}

}  // namespace

Result<std::vector<std::string>> give_secrets(const Vm& vm,
                                              std::span<const source::SecretSource> secrets) {
  std::vector<std::string> problems;
  for (const source::SecretSource& source : secrets) {
    auto value = source::read_secret(source);
    if (!value) {
      problems.push_back(value.error().message);
      continue;
    }
    const auto reply = tell(vm, json::object{{source.name, *value}});
    explicit_bzero(value->data(), value->size());
    if (!reply) return std::unexpected(reply.error());
    const json::value* refused = reply->if_contains("problems");
    if (refused == nullptr || !refused->is_array()) continue;
    for (const json::value& problem : refused->get_array()) {
      if (problem.is_string()) problems.emplace_back(problem.get_string());
    }
  }
  return problems;
}

Result<std::vector<std::string>> secret_environment(const Vm& vm) {
  PINHOLE_TRY(const std::string text, sys::read_file(vm.paths.plan, config::kLargestConfigFile));
  PINHOLE_TRY(const config::VmPlan plan, config::parse_vm_plan(text));
  std::vector<std::string> environment;
  if (plan.secrets.empty()) return environment;
  PINHOLE_TRY(const json::object reply, tell(vm, {}));
  const json::value* placeholders = reply.if_contains("placeholders");
  if (placeholders == nullptr || !placeholders->is_object())
    return fail("the PEP does not tell them");
  // Only names of the plan's: the PEP deals with the guest and the net.
  for (const source::SecretSource& source : plan.secrets) {
    const std::string placeholder = text_of(placeholders->get_object(), source.name);
    if (!placeholder.empty()) environment.push_back(source.name + "=" + placeholder);
  }
  return environment;
}

}  // namespace pinhole::cli
