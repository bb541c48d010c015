// SPDX-License-Identifier: Apache-2.0
#include "config/vm_plan.h"

#include <algorithm>
#include <limits>
#include <vector>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::config {
namespace {

namespace json = boost::json;
constexpr std::int64_t kVersion = 1;

json::object write(const Disk& disk) {
  return {{"path", disk.path.string()}, {"format", std::string(to_string(disk.format))}};
}

/// Names that a guest may have chosen: JSON carries no bytes that are not UTF-8.
std::string read_bytes(std::string_view hexadecimal, bool& good) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c - 'a' + 10; };
  good = hexadecimal.size() % 2 == 0 &&
         hexadecimal.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  std::string out;
  for (std::size_t i = 0; good && i < hexadecimal.size(); i += 2)
    out.push_back(static_cast<char>(digit(hexadecimal[i]) * 16 + digit(hexadecimal[i + 1])));
  return out;
}

json::array write_bytes(const std::vector<std::string>& names) {
  json::array out;
  for (const std::string& name : names)
    out.emplace_back(hex({reinterpret_cast<const std::uint8_t*>(name.data()), name.size()}));
  return out;
}

json::object write(const Share& share) {
  json::object out{{"tag", share.tag},     {"host", share.host.string()},
                   {"guest", share.guest}, {"read_only", share.read_only},
                   {"cache", share.cache}, {"guarded", write_bytes(share.guarded)}};
  if (!share.overlay.empty()) out["overlay"] = share.overlay.string();
  return out;
}

json::object write(const DirectBoot& direct) {
  return {{"kernel", direct.kernel.string()},
          {"initrd", direct.initrd.string()},
          {"cmdline", direct.cmdline},
          {"hostname", direct.hostname},
          {"user", direct.user.name},
          {"uid", direct.user.uid},
          {"gid", direct.user.gid}};
}

/// Reads members in turn and remembers the first that is not as it must be.
class Reader {
 public:
  explicit Reader(const json::object& object) : object_(object) {}

  std::string text(std::string_view key) {
    const json::value* value = member(key);
    if (value != nullptr && value->is_string()) return std::string(value->get_string());
    return wrong(key), std::string();
  }
  std::uint64_t number(std::string_view key) {
    const json::value* value = member(key);
    if (value != nullptr && value->is_int64() && value->get_int64() >= 0)
      return static_cast<std::uint64_t>(value->get_int64());
    return wrong(key), 0;
  }
  bool boolean(std::string_view key) {
    const json::value* value = member(key);
    if (value != nullptr && value->is_bool()) return value->get_bool();
    return wrong(key), false;
  }
  const json::array& array(std::string_view key) {
    static const json::array kEmpty;
    const json::value* value = member(key);
    if (value != nullptr && value->is_array()) return value->get_array();
    return wrong(key), kEmpty;
  }
  std::vector<std::string> texts(std::string_view key) {
    std::vector<std::string> out;
    for (const json::value& item : array(key)) {
      if (!item.is_string()) return wrong(key), out;
      out.emplace_back(item.get_string());
    }
    return out;
  }
  Disk disk(std::string_view key) {
    const json::value* value = member(key);
    if (value == nullptr || !value->is_object()) return wrong(key), Disk();
    Reader inner(value->get_object());
    Disk disk{.path = inner.text("path")};
    const std::string format = inner.text("format");
    if (format != "raw" && format != "qcow2") wrong(key);
    disk.format = format == "qcow2" ? DiskFormat::qcow2 : DiskFormat::raw;
    inner.finish();
    if (!inner.problem_.empty()) wrong(key);
    return disk;
  }
  std::uint32_t id(std::string_view key) {
    const std::uint64_t value = number(key);
    if (value > std::numeric_limits<std::uint32_t>::max()) wrong(key);
    return static_cast<std::uint32_t>(value);
  }
  DirectBoot direct(std::string_view key) {
    const json::value* value = member(key);
    if (value == nullptr || !value->is_object()) return wrong(key), DirectBoot();
    Reader inner(value->get_object());
    DirectBoot direct{
        .kernel = inner.text("kernel"),
        .initrd = inner.text("initrd"),
        .cmdline = inner.text("cmdline"),
        .hostname = inner.text("hostname"),
        .user = {.name = inner.text("user"), .uid = inner.id("uid"), .gid = inner.id("gid")}};
    inner.finish();
    if (!inner.problem_.empty()) wrong(key);
    return direct;
  }
  std::vector<std::string> guarded(std::string_view key) {
    std::vector<std::string> out;
    for (const std::string& name : texts(key)) {
      bool good = false;
      out.push_back(read_bytes(name, good));
      if (!good) wrong(key);
    }
    return out;
  }
  std::vector<Share> shares(std::string_view key) {
    std::vector<Share> out;
    for (const json::value& item : array(key)) {
      if (!item.is_object() || out.size() == kMostShares) return wrong(key), out;
      Reader inner(item.get_object());
      out.push_back({.tag = inner.text("tag"),
                     .host = inner.text("host"),
                     .guest = inner.text("guest"),
                     .read_only = inner.boolean("read_only"),
                     .cache = inner.boolean("cache"),
                     .guarded = inner.guarded("guarded")});
      if (inner.has("overlay")) out.back().overlay = inner.text("overlay");
      inner.finish();
      if (!inner.problem_.empty()) wrong(key);
    }
    return out;
  }
  [[nodiscard]] bool has(std::string_view key) const { return object_.contains(key); }
  void wrong(std::string_view key) {
    if (problem_.empty()) problem_ = key;
  }
  /// Last: a member that nobody asked for is wrong too.
  void finish() {
    for (const auto& member : object_) {
      if (std::ranges::find(asked_, std::string_view(member.key())) == asked_.end())
        wrong(member.key());
    }
  }
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  const json::value* member(std::string_view key) {
    asked_.push_back(key);
    return object_.if_contains(key);
  }
  const json::object& object_;
  std::vector<std::string_view> asked_;  // literals
  std::string problem_;
};

/// Plans of version 0.2 and before know one folder; those of 0.1 guarded nothing in it.
std::vector<Share> read_shares(Reader& in) {
  if (in.has("shares")) return in.shares("shares");
  std::vector<Share> shares;
  if (in.has("workspace")) {
    shares.push_back({.tag = std::string(kWorkspaceTag),
                      .host = in.text("workspace"),
                      .guest = std::string(kWorkspacePath)});
  }
  if (!in.has("guarded")) return shares;
  std::vector<std::string> guarded = in.guarded("guarded");
  if (!shares.empty()) shares.front().guarded = std::move(guarded);
  return shares;
}

VmPlan read(Reader& in) {
  VmPlan plan{
      .name = in.text("name"),
      .image = in.text("image"),
      .image_sha256 = in.text("image_sha256"),
      .disk = in.disk("disk"),
      .firmware = {.code = in.text("firmware_code"), .vars_template = in.text("firmware_vars")},
      .qemu = in.text("qemu"),
      .virtiofsd = in.text("virtiofsd"),
      .accelerator_reason = in.text("accelerator_reason"),
      .cpus = static_cast<unsigned>(in.number("cpus")),
      .memory_mib = in.number("memory_mib"),
      .cid = static_cast<std::uint32_t>(in.number("cid")),
      .instance_id = in.text("instance_id"),
      .workspace_markers = in.boolean("workspace_markers"),
  };
  const std::string accelerator = in.text("accelerator");
  if (accelerator != "tcg" && accelerator != "kvm") in.wrong("accelerator");
  plan.accelerator = accelerator == "kvm" ? Accelerator::kvm : Accelerator::tcg;
  if (in.has("backing")) plan.backing = in.disk("backing");
  if (in.has("tools")) plan.tools = in.disk("tools");
  if (in.has("direct")) plan.direct = in.direct("direct");
  plan.shares = read_shares(in);
  for (const json::value& item : in.array("policy")) {
    if (!item.is_object()) return in.wrong("policy"), plan;
    Reader inner(item.get_object());
    plan.policy.push_back(
        {.layer = inner.text("layer"), .path = inner.text("path"), .name = inner.text("name")});
    inner.finish();
    if (!inner.problem().empty()) in.wrong("policy");
  }
  // Plans of version 0.1 and before have none, nor secrets.
  for (std::string& text : in.has("ca_files") ? in.texts("ca_files") : std::vector<std::string>())
    plan.ca_files.emplace_back(std::move(text));
  if (in.has("secrets")) {
    for (const json::value& item : in.array("secrets")) {
      if (!item.is_object()) return in.wrong("secrets"), plan;
      Reader inner(item.get_object());
      plan.secrets.push_back({.name = inner.text("name"), .from = inner.text("from")});
      inner.finish();
      if (!inner.problem().empty()) in.wrong("secrets");
    }
  }
  plan.fetches = in.texts("fetches");
  if (in.has("guard")) {  // plans of version 0.1 have none, and guarded nothing
    const auto level = parse_guard_level(in.text("guard"));
    if (!level) in.wrong("guard");
    plan.guard = level.value_or(GuardLevel::warn);
  }
  if (in.has("ephemeral")) plan.ephemeral = in.boolean("ephemeral");
  if (in.has("capture")) plan.capture = in.boolean("capture");
  return plan;
}

}  // namespace

std::string_view to_string(Accelerator accelerator) {
  return accelerator == Accelerator::kvm ? "kvm" : "tcg";
}
std::string_view to_string(DiskFormat format) {
  return format == DiskFormat::qcow2 ? "qcow2" : "raw";
}

std::string to_json(const VmPlan& plan) {
  json::array policy, fetches, ca_files, secrets;
  for (const PolicyLayer& layer : plan.policy) {
    policy.push_back(
        json::object{{"layer", layer.layer}, {"path", layer.path.string()}, {"name", layer.name}});
  }
  for (const auto& file : plan.ca_files) ca_files.emplace_back(file.string());
  for (const source::SecretSource& secret : plan.secrets)
    secrets.push_back(json::object{{"name", secret.name}, {"from", secret.from}});
  for (const std::string& url : plan.fetches) fetches.emplace_back(url);
  json::array shares;
  for (const Share& share : plan.shares) shares.push_back(write(share));
  json::object out{
      {"version", kVersion},
      {"name", plan.name},
      {"image", plan.image},
      {"image_sha256", plan.image_sha256},
      {"disk", write(plan.disk)},
      {"firmware_code", plan.firmware.code.string()},
      {"firmware_vars", plan.firmware.vars_template.string()},
      {"qemu", plan.qemu.string()},
      {"virtiofsd", plan.virtiofsd.string()},
      {"accelerator", std::string(to_string(plan.accelerator))},
      {"accelerator_reason", plan.accelerator_reason},
      {"cpus", plan.cpus},
      {"memory_mib", plan.memory_mib},
      {"cid", plan.cid},
      {"instance_id", plan.instance_id},
      {"workspace_markers", plan.workspace_markers},
      {"guard", std::string(to_string(plan.guard))},
      {"shares", std::move(shares)},
      {"policy", std::move(policy)},
      {"ca_files", std::move(ca_files)},
      {"secrets", std::move(secrets)},
      {"fetches", std::move(fetches)},
      {"ephemeral", plan.ephemeral},
      {"capture", plan.capture},
  };
  if (plan.backing) out["backing"] = write(*plan.backing);
  if (plan.tools) out["tools"] = write(*plan.tools);
  if (plan.direct) out["direct"] = write(*plan.direct);
  return json::serialize(out) + "\n";
}

const Share* VmPlan::workspace() const {
  const auto found = std::ranges::find_if(shares, &Share::is_workspace);
  return found == shares.end() ? nullptr : &*found;
}

Result<VmPlan> parse_vm_plan(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return fail("the VM's plan is not a JSON object");
  const json::object& object = value.get_object();
  const json::value* version = object.if_contains("version");
  if (version == nullptr || !version->is_int64() || version->get_int64() != kVersion) {
    return fail(Error{.message = "the VM's plan was written by another version of Pinhole",
                      .fix = "use the version that made it, or remove the VM: pinhole rm NAME"});
  }
  Reader reader(object);
  (void)reader.number("version");
  VmPlan plan = read(reader);
  reader.finish();
  if (!reader.problem().empty())
    return fail("the VM's plan is damaged at \"{}\"", printable(reader.problem()));
  return plan;
}

}  // namespace pinhole::config
