// SPDX-License-Identifier: Apache-2.0
// guard.json. Names are whatever bytes a guest chose, so they are written in hexadecimal.
#include <boost/json.hpp>

#include "base/json.h"
#include "base/strings.h"
#include "preflight/guard.h"

namespace pinhole::preflight {
namespace {

namespace json = boost::json;
using sys::GuestDir;

constexpr std::int64_t kVersion = 1;

std::string to_hex(std::string_view text) {
  return hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::string from_hex(std::string_view text) {
  const auto digit = [](char c) {
    return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10) & 15U;
  };
  std::string out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    out.push_back(static_cast<char>((digit(text[i]) << 4U) | digit(text[i + 1])));
  return out;
}

json::array write(const std::string& path, const GuardedFile& file) {
  const GuestDir::Look& look = file.look;
  return {
      to_hex(path),    static_cast<int>(look.kind), look.device, look.inode,   look.size, look.mode,
      look.changed_ns, to_hex(look.target),         file.digest, file.harmless};
}

std::uint64_t number(const json::value& value) {
  return value.is_uint64()  ? value.get_uint64()
         : value.is_int64() ? static_cast<std::uint64_t>(value.get_int64())
                            : 0;
}
std::string text(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : std::string();
}
bool truth(const json::value& value) { return value.is_bool() && value.get_bool(); }

/// False: damaged.
bool read_file(const json::value& value, GuardScan& scan) {
  constexpr std::size_t kMembers = 10;
  if (!value.is_array() || value.get_array().size() != kMembers) return false;
  const json::array& in = value.get_array();
  const std::uint64_t kind = number(in[1]);
  if (kind > static_cast<std::uint64_t>(GuestDir::Kind::other)) return false;
  scan.files[from_hex(text(in[0]))] = {
      .look = {.kind = static_cast<GuestDir::Kind>(kind),
               .device = number(in[2]),
               .inode = number(in[3]),
               .size = number(in[4]),
               .mode = static_cast<std::uint32_t>(number(in[5])),
               .changed_ns = static_cast<std::int64_t>(number(in[6])),
               .target = from_hex(text(in[7]))},
      .digest = text(in[8]),
      .harmless = truth(in[9])};
  return true;
}

bool read_name(const json::value& value, GuardScan& scan) {
  constexpr std::size_t kMembers = 3;
  if (!value.is_array() || value.get_array().size() != kMembers) return false;
  const json::array& in = value.get_array();
  scan.names.push_back(
      {.path = from_hex(text(in[0])), .why = text(in[1]), .read_only = truth(in[2])});
  return true;
}

bool read_gap(const json::value& value, GuardScan& scan) {
  if (!value.is_array() || value.get_array().size() != 2) return false;
  const json::array& in = value.get_array();
  scan.gaps.push_back({from_hex(text(in[0])), text(in[1])});
  return true;
}

template <typename Read>
bool each(const json::object& object, std::string_view key, GuardScan& scan, const Read& read) {
  const json::value* all = object.if_contains(key);
  if (all == nullptr || !all->is_array()) return false;
  return std::ranges::all_of(all->get_array(),
                             [&](const json::value& value) { return read(value, scan); });
}

}  // namespace

std::string to_json(const GuardSnapshot& snapshot) {
  json::array names, files, gaps;
  for (const GuardedName& name : snapshot.before.names)
    names.push_back(json::array{to_hex(name.path), name.why, name.read_only});
  for (const auto& [path, file] : snapshot.before.files) files.push_back(write(path, file));
  for (const GuardGap& gap : snapshot.before.gaps)
    gaps.push_back(json::array{to_hex(gap.path), gap.why});
  return json::serialize(json::object{{"version", kVersion},
                                      {"folder", to_hex(snapshot.folder.string())},
                                      {"level", std::string(to_string(snapshot.level))},
                                      {"incomplete", snapshot.before.incomplete},
                                      {"gaps", std::move(gaps)},
                                      {"names", std::move(names)},
                                      {"files", std::move(files)}}) +
         "\n";
}

Result<GuardSnapshot> parse_guard_snapshot(std::string_view content) {
  boost::system::error_code error;
  const json::value value = json::parse(content, error);
  const json::object empty;
  const json::object& object = !error && value.is_object() ? value.get_object() : empty;
  const json::value* version = object.if_contains("version");
  const auto level = config::parse_guard_level(text_of(object, "level"));
  GuardSnapshot out{.folder = from_hex(text_of(object, "folder")),
                    .level = level.value_or(config::GuardLevel::warn),
                    .before = {}};
  out.before.incomplete = text_of(object, "incomplete");
  const bool good = version != nullptr && number(*version) == kVersion && level &&
                    out.folder.is_absolute() && each(object, "names", out.before, read_name) &&
                    each(object, "files", out.before, read_file) &&
                    // A record from before there were any has none.
                    (!object.contains("gaps") || each(object, "gaps", out.before, read_gap));
  if (good) return out;
  return fail(
      Error{.message = "the record of the workspace before the guest (guard.json) is damaged",
            .fix = "look at the workspace yourself, then remove that file"});
}

}  // namespace pinhole::preflight
