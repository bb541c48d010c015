// SPDX-License-Identifier: Apache-2.0
#include "image/initrd.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <memory>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxModule = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxModulesDep = std::uint64_t{8} << 20;
constexpr std::uint64_t kMaxBusybox = std::uint64_t{16} << 20;

// What images/*/init may call.
constexpr auto kApplets =
    std::to_array<std::string_view>({"cat", "findfs", "insmod", "ls", "mount", "poweroff", "sh",
                                     "sleep", "switch_root", "umount", "usleep"});

/// "kernel/drivers/block/virtio_blk.ko.xz" -> "virtio_blk.ko"
std::string plain_name(std::string_view path) {
  path = path.substr(path.rfind('/') + 1);
  return std::string(path.substr(0, path.find(".ko"))) + ".ko";
}

struct ArchiveFree {
  void operator()(archive* reader) const { ::archive_read_free(reader); }
};

/// The module itself where the distribution ships it compressed (.ko.xz, .ko.zst, .ko.gz).
Result<std::string> unpacked_module(std::string_view path, std::string content) {
  if (path.ends_with(".ko")) return content;
  const std::unique_ptr<archive, ArchiveFree> reader(::archive_read_new());
  ::archive_read_support_filter_all(reader.get());
  ::archive_read_support_format_raw(reader.get());
  std::string module;
  archive_entry* entry = nullptr;
  bool good =
      ::archive_read_open_memory(reader.get(), content.data(), content.size()) == ARCHIVE_OK &&
      ::archive_read_next_header(reader.get(), &entry) == ARCHIVE_OK;
  std::array<char, 65536> chunk;
  while (good) {
    const la_ssize_t n = ::archive_read_data(reader.get(), chunk.data(), chunk.size());
    if (n == 0 && !module.empty()) return module;
    good = n > 0 && module.size() + static_cast<std::size_t>(n) <= kMaxModule;
    if (good) module.append(chunk.data(), static_cast<std::size_t>(n));
  }
  return fail("cannot unpack the kernel's module {}", path);
}

/// "kernel/drivers/block/virtio_blk.ko.xz" -> "virtio_blk"
std::string module_name(std::string_view path) {
  path = path.substr(path.rfind('/') + 1);
  std::string name(path.substr(0, path.find(".ko")));
  std::ranges::replace(name, '-', '_');
  return name;
}

struct Module {
  std::string path;
  std::vector<std::string> needs;  ///< what must be loaded first stands last
};

std::map<std::string, Module> read_modules_dep(std::string_view text) {
  std::map<std::string, Module> modules;
  for (const std::string_view line : split(text, '\n')) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    Module module{.path = std::string(line.substr(0, colon)), .needs = {}};
    for (const std::string_view word : split(line.substr(colon + 1), ' ')) {
      if (!trim(word).empty()) module.needs.emplace_back(trim(word));
    }
    modules.emplace(module_name(module.path), std::move(module));
  }
  return modules;
}

bool is_builtin(std::string_view modules_builtin, std::string_view name) {
  return std::ranges::any_of(split(modules_builtin, '\n'),
                             [&](std::string_view line) { return module_name(line) == name; });
}

void append_entry(std::string& archive, const CpioEntry& entry, std::size_t inode) {
  const auto pad = [&] { archive.resize((archive.size() + 3) / 4 * 4); };
  archive += fmt::format(
      "070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}"
      "{:08X}{:08X}",
      inode, entry.mode, 0, 0, 1, 0, entry.content.size(), 0, 0, 0, 0, entry.name.size() + 1, 0);
  archive.append(entry.name).push_back('\0');
  pad();
  archive += entry.content;
  pad();
}

std::vector<CpioEntry> skeleton(std::string busybox, std::string_view script) {
  std::vector<CpioEntry> entries;
  for (const char* folder : {"bin", "dev", "proc", "root", "sys"})
    entries.push_back({.name = folder, .mode = S_IFDIR | 0755});
  entries.push_back({.name = "bin/busybox", .mode = S_IFREG | 0755, .content = std::move(busybox)});
  for (const std::string_view applet : kApplets) {
    entries.push_back(
        {.name = fmt::format("bin/{}", applet), .mode = S_IFLNK | 0777, .content = "busybox"});
  }
  entries.push_back({.name = "init", .mode = S_IFREG | 0755, .content = std::string(script)});
  return entries;
}

}  // namespace

Result<std::vector<std::string>> module_order(std::string_view modules_dep,
                                              std::string_view modules_builtin,
                                              const std::vector<std::string>& wanted) {
  const auto modules = read_modules_dep(modules_dep);
  std::vector<std::string> order;
  const auto add = [&](const std::string& path) {
    if (std::ranges::find(order, path) == order.end()) order.push_back(path);
  };
  for (const std::string& want : wanted) {
    const std::string name = module_name(want);
    const auto found = modules.find(name);
    if (found == modules.end()) {
      if (is_builtin(modules_builtin, name)) continue;
      return fail("the image's kernel has no module \"{}\"", want);
    }
    const Module& module = found->second;
    std::for_each(module.needs.rbegin(), module.needs.rend(), add);
    add(module.path);
  }
  return order;
}

std::string write_cpio(const std::vector<CpioEntry>& entries) {
  std::string archive;
  std::size_t inode = 1;
  for (const CpioEntry& entry : entries) append_entry(archive, entry, inode++);
  append_entry(archive, {.name = "TRAILER!!!", .mode = 0}, 0);
  return archive;
}

Result<std::string> kernel_release(const fs::path& root) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "usr/lib/modules", error))
    found.push_back(entry.path().filename().string());
  if (found.size() == 1) return found.front();
  return fail(Error{.message = fmt::format("the image holds {} kernels, not one", found.size()),
                    .fix = "list one linux-image-… package in the recipe"});
}

namespace {

/// /modules with what `wanted` needs, and the order to load it in.
Result<std::vector<CpioEntry>> module_entries(const fs::path& root,
                                              const std::vector<std::string>& wanted) {
  PINHOLE_TRY(const std::string release, kernel_release(root));
  const fs::path folder = root / "usr/lib/modules" / release;
  PINHOLE_TRY(const std::string dep, sys::read_file(folder / "modules.dep", kMaxModulesDep));
  PINHOLE_TRY(const std::string builtin,
              sys::read_file(folder / "modules.builtin", kMaxModulesDep));
  PINHOLE_TRY(const auto order, module_order(dep, builtin, wanted));
  std::vector<CpioEntry> entries = {{.name = "modules", .mode = S_IFDIR | 0755}};
  std::string list;
  for (const std::string& path : order) {
    PINHOLE_TRY(std::string packed, sys::read_file(folder / path, kMaxModule));
    PINHOLE_TRY(std::string content, unpacked_module(path, std::move(packed)));
    const std::string file = plain_name(path);
    entries.push_back(
        {.name = "modules/" + file, .mode = S_IFREG | 0644, .content = std::move(content)});
    list += file + "\n";
  }
  entries.push_back({.name = "modules/order", .mode = S_IFREG | 0644, .content = std::move(list)});
  return entries;
}

}  // namespace

Result<std::string> make_initrd(const fs::path& root, std::string_view script,
                                const std::vector<std::string>& modules) {
  PINHOLE_TRY(auto loaded, module_entries(root, modules));
  auto busybox = sys::read_file(root / "usr/bin/busybox", kMaxBusybox);
  if (!busybox) busybox = sys::read_file(root / "bin/busybox", kMaxBusybox);
  if (!busybox) {
    return fail(std::move(busybox).error().with_fix("list busybox-static in the recipe"));
  }
  std::vector<CpioEntry> entries = skeleton(*std::move(busybox), script);
  std::ranges::move(loaded, std::back_inserter(entries));
  return write_cpio(entries);
}

Result<std::string> make_direct_archive(const fs::path& root,
                                        const std::vector<std::string>& modules) {
  PINHOLE_TRY(const auto entries, module_entries(root, modules));
  return write_cpio(entries);
}

}  // namespace pinhole::image
