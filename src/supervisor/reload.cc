// SPDX-License-Identifier: Apache-2.0
// A new policy for a running VM: the door takes it or nothing changes. What it took stands in the VM's
// folder and plan afterwards, so that a door that is started again has it too.
#include <boost/json.hpp>

#include "base/json.h"
#include "base/printable.h"
#include "config/paths.h"
#include "supervisor/control.h"
#include "supervisor/supervisor.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kMostLayers = 100;

struct Staged {
  config::VmPlan plan;
  fs::path policies, new_policies, plan_file, new_plan;
};

/// A name that is one file in its folder, whoever sent it.
Result<std::string> plain_name(const json::object& layer, std::string_view key) {
  std::string name = text_of(layer, key);
  if (name.empty() || name.size() > 255 || name == "." || name == ".." || name.contains('/') ||
      name.contains('\0')) {
    return fail("a layer whose \"{}\" is no plain name", key);
  }
  return name;
}

std::vector<source::SecretSource> sources_of(const json::object& request) {
  std::vector<source::SecretSource> sources;
  const json::value* list = request.if_contains("secrets");
  if (list == nullptr || !list->is_array()) return sources;
  for (const json::value& item : list->get_array()) {
    if (!item.is_object()) continue;
    sources.push_back(
        {.name = text_of(item.get_object(), "name"), .from = text_of(item.get_object(), "from")});
  }
  return sources;
}

/// Everything that needs space or can be wrong, beside what is there.
Result<Staged> stage(const config::VmPlan& plan, const config::VmPaths& paths,
                     const json::object& request) {
  Staged staged{.plan = plan,
                .policies = paths.dir / "policy",
                .new_policies = paths.dir / "policy.new",
                .plan_file = paths.plan,
                .new_plan = paths.plan.string() + ".new"};
  const json::value* list = request.if_contains("layers");
  if (list == nullptr || !list->is_array() || list->get_array().size() > kMostLayers)
    return fail("the request has no layers");
  PINHOLE_TRY_VOID(sys::remove_tree(staged.new_policies));
  staged.plan.policy.clear();
  staged.plan.secrets = sources_of(request);
  for (const json::value& item : list->get_array()) {
    if (!item.is_object()) return fail("the request has a layer that is no object");
    const json::object& layer = item.get_object();
    PINHOLE_TRY(const std::string kind, plain_name(layer, "layer"));
    PINHOLE_TRY(const std::string name, plain_name(layer, "name"));
    const fs::path place = fs::path(fmt::format("{}-{}", staged.plan.policy.size(), kind)) / name;
    PINHOLE_TRY_VOID(sys::make_private_dir((staged.new_policies / place).parent_path()));
    PINHOLE_TRY_VOID(sys::write_file_atomic(staged.new_policies / place, text_of(layer, "text")));
    staged.plan.policy.push_back({.layer = kind, .path = staged.policies / place, .name = name});
  }
  PINHOLE_TRY_VOID(sys::write_file_atomic(staged.new_plan, config::to_json(staged.plan)));
  return staged;
}

void forget(const Staged& staged) {
  (void)sys::remove_tree(staged.new_policies);
  std::error_code ignored;
  fs::remove(staged.new_plan, ignored);
}

Result<void> keep(const Staged& staged) {
  PINHOLE_TRY_VOID(sys::remove_tree(staged.policies));
  std::error_code error;
  if (!staged.plan.policy.empty()) fs::rename(staged.new_policies, staged.policies, error);
  if (!error) fs::rename(staged.new_plan, staged.plan_file, error);
  if (error) return fail("cannot replace the VM's copy: {}", error.message());
  return {};
}

}  // namespace

asio::awaitable<json::object> Supervisor::reload(json::object request) {
  if (policy_hash_.empty() || !pep_ || reloading_) {
    const std::string_view what =
        reloading_ ? "takes another policy just now" : "is still starting";
    co_return error_answer({.message = fmt::format("VM \"{}\" {}", plan_.name, what)});
  }
  auto staged = stage(plan_, paths_, request);
  if (!staged) co_return error_answer(std::move(staged).error());
  reloading_ = true;
  const std::shared_ptr<PepLink> pep = pep_;
  auto hash = co_await pep->reload(request);
  reloading_ = false;
  if (!hash) {
    forget(*staged);
    co_return error_answer(std::move(hash).error());
  }
  policy_hash_ = *hash;
  plan_ = staged->plan;
  ports_ = pep->ports();
  if (plan_.capture) guest_->tell(wire::Ports{.ports = ports_});
  status_->line(fmt::format("policy: {}", policy_hash_));
  if (auto kept = keep(*staged); !kept) {
    co_return error_answer(
        std::move(kept).error().context("the policy is in force until the door is started again"));
  }
  co_return json::object{{"ok", true}, {"policy", policy_hash_}};
}

}  // namespace pinhole::supervisor
