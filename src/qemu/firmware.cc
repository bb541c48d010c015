// SPDX-License-Identifier: Apache-2.0
#include "qemu/firmware.h"

#include <algorithm>
#include <map>

#include <boost/json.hpp>

#include "base/printable.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::qemu {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::uint64_t kLargestDescriptor = 64 << 10;
constexpr std::size_t kMostDescriptors = 256;

bool holds(const json::object& object, std::string_view key, std::string_view wanted) {
  const json::value* list = object.if_contains(key);
  if (list == nullptr || !list->is_array()) return false;
  return std::ranges::any_of(list->get_array(), [&](const json::value& v) {
    return v.is_string() && v.get_string() == wanted;
  });
}

bool fits_machine(const json::object& descriptor) {
  const json::value* targets = descriptor.if_contains("targets");
  if (targets == nullptr || !targets->is_array()) return false;
  return std::ranges::any_of(targets->get_array(), [](const json::value& target) {
    if (!target.is_object()) return false;
    const json::value* architecture = target.get_object().if_contains("architecture");
    return architecture != nullptr && architecture->is_string() &&
           architecture->get_string() == "x86_64" &&
           holds(target.get_object(), "machines", "pc-q35-*");
  });
}

/// mapping.executable.filename and the like; empty where it is missing or not raw.
std::string raw_file(const json::object& mapping, std::string_view part) {
  const json::value* file = mapping.if_contains(part);
  if (file == nullptr || !file->is_object()) return {};
  const json::value* name = file->get_object().if_contains("filename");
  const json::value* format = file->get_object().if_contains("format");
  if (name == nullptr || !name->is_string() || format == nullptr || !format->is_string()) return {};
  return format->get_string() == "raw" ? std::string(name->get_string()) : std::string();
}

}  // namespace

std::vector<fs::path> descriptor_folders() {
  std::vector<fs::path> folders;
  if (const auto user = sys::current_user())
    folders.push_back(user->home / ".config/qemu/firmware");
  folders.emplace_back("/etc/qemu/firmware");
  folders.emplace_back("/usr/share/qemu/firmware");
  return folders;
}

Result<std::optional<config::Firmware>> parse_descriptor(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return fail("it is not a JSON object");
  const json::object& descriptor = value.get_object();
  const json::value* mapping = descriptor.if_contains("mapping");
  if (mapping == nullptr || !mapping->is_object()) return fail("it has no \"mapping\"");
  const json::value* device = mapping->get_object().if_contains("device");
  const bool flash = device != nullptr && device->is_string() && device->get_string() == "flash";
  if (!flash || !holds(descriptor, "interface-types", "uefi") || !fits_machine(descriptor) ||
      holds(descriptor, "features", "requires-smm") ||
      holds(descriptor, "features", "secure-boot")) {
    return std::nullopt;
  }
  config::Firmware firmware{.code = raw_file(mapping->get_object(), "executable"),
                            .vars_template = raw_file(mapping->get_object(), "nvram-template")};
  if (firmware.code.empty() || firmware.vars_template.empty()) return std::nullopt;
  return firmware;
}

Result<config::Firmware> find_firmware(const std::vector<fs::path>& folders) {
  std::map<std::string, fs::path> descriptors;  // by file name
  for (const fs::path& folder : folders) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".json" && descriptors.size() < kMostDescriptors) {
        descriptors.try_emplace(entry.path().filename().string(), entry.path());
      }
    }
  }
  std::vector<std::string> seen;
  for (const auto& [name, path] : descriptors) {
    const auto text = sys::read_file(path, kLargestDescriptor);
    const auto firmware = text ? parse_descriptor(*text) : std::unexpected(text.error());
    if (!firmware) {
      seen.push_back(fmt::format("{}: {}", path.string(), firmware.error().message));
      continue;
    }
    if (!*firmware) continue;
    std::error_code error;
    if (fs::is_regular_file((*firmware)->code, error) &&
        fs::is_regular_file((*firmware)->vars_template, error))
      return **firmware;
    seen.push_back(
        fmt::format("{} names {}, which is not there", path.string(), (*firmware)->code.string()));
  }
  return fail(Error{.message = "no UEFI firmware for an x86_64 q35 machine was found",
                    .details = std::move(seen),
                    .fix = "sudo apt-get install ovmf"});
}

}  // namespace pinhole::qemu
