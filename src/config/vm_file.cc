// SPDX-License-Identifier: Apache-2.0
#include "config/vm_file.h"

#include <algorithm>

#include "yaml/mapping_reader.h"
#include "yaml/yaml.h"

namespace pinhole::config {

std::optional<BootWish> parse_boot_wish(std::string_view text) {
  if (text == "auto") return BootWish::automatic;
  if (text == "efi") return BootWish::efi;
  if (text == "direct") return BootWish::direct;
  return std::nullopt;
}

Result<VmRequest> parse_vm_request(std::string_view text, std::string_view source) {
  PINHOLE_TRY(const yaml::Document document, yaml::parse(text, source));
  VmRequest request;
  if (document.root.kind != yaml::Node::Kind::mapping)
    return request;  // the policy's reader says what is wrong
  const yaml::Node* vm = document.root.find("vm");
  if (vm == nullptr) return request;
  yaml::MappingReader reader(document, *vm, "\"vm\"");
  request.image = reader.optional_string("image");
  request.disk = reader.optional_string("disk");
  if (const auto cpus = reader.optional_u64("cpus", {1, 64}))
    request.cpus = static_cast<unsigned>(*cpus);
  constexpr std::uint64_t kMiB = 1 << 20;
  if (const auto memory = reader.optional_size("memory", {256 * kMiB, 1024 * 1024 * kMiB})) {
    request.memory_mib = *memory / kMiB;
  }
  if (const auto boot = reader.optional_choice("boot", {"auto", "efi", "direct"}))
    request.boot = parse_boot_wish(*boot);
  request.workspace = reader.optional_string("workspace");
  request.read_only = reader.optional_bool("read_only");
  for (const std::string& word : reader.string_list("cache")) {
    auto wish = parse_cache_wish(word);
    if (wish) {
      request.caches.push_back(*std::move(wish));
    } else {
      reader.report(vm->find("cache")->key_mark, wish.error().message);
    }
  }
  request.user_data = reader.optional_string("user_data");
  if (const auto level = reader.optional_choice("guard", {"off", "warn", "strict"}))
    request.guard = parse_guard_level(*level);
  if (request.image && request.disk) {
    reader.report(vm->find("disk")->key_mark, "\"image\" and \"disk\" exclude each other");
  }
  PINHOLE_TRY_VOID(reader.finish());
  request.disk_from_project = request.disk.has_value();
  request.workspace_from_project = request.workspace.has_value();
  request.user_data_from_project = request.user_data.has_value();
  return request;
}

VmRequest merged(VmRequest flags, const VmRequest& file) {
  // An image on the command line also replaces a disk in the file, and the other way round.
  if (!flags.image && !flags.disk) {
    flags.image = file.image;
    flags.disk = file.disk;
    flags.disk_from_project = file.disk_from_project;
  }
  if (!flags.cpus) flags.cpus = file.cpus;
  if (!flags.guard) flags.guard = file.guard;
  if (!flags.memory_mib) flags.memory_mib = file.memory_mib;
  if (!flags.boot) flags.boot = file.boot;
  if (!flags.workspace) {
    flags.workspace = file.workspace;
    flags.workspace_from_project = file.workspace_from_project;
  }
  if (!flags.read_only) flags.read_only = file.read_only;
  for (const CacheWish& cache : file.caches) {
    if (std::ranges::find(flags.caches, cache.name, &CacheWish::name) == flags.caches.end())
      flags.caches.push_back(cache);
  }
  if (!flags.user_data) {
    flags.user_data = file.user_data;
    flags.user_data_from_project = file.user_data_from_project;
  }
  return flags;
}

}  // namespace pinhole::config
