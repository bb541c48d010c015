// SPDX-License-Identifier: Apache-2.0
// The initrd of an image: busybox, the disk's drivers and one script. A general initramfs would
// carry udev and find out at each boot what is known when the image is built.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

/// Paths of the modules to load, each after what it needs: `wanted` and their dependencies as the
/// text of modules.dep (depmod(8)) lists them. Names match with - and _ alike. A module that the
/// text of modules.builtin names needs no loading and is left out; one that neither knows is an
/// error.
Result<std::vector<std::string>> module_order(std::string_view modules_dep,
                                              std::string_view modules_builtin,
                                              const std::vector<std::string>& wanted);

/// One member of a cpio archive.
struct CpioEntry {
  std::string name;
  std::uint32_t mode = 0;    ///< with the file type bits
  std::string content = {};  ///< of a link its target
};

/// An uncompressed "newc" archive (Linux, Documentation/driver-api/early-userspace/
/// buffer-format.rst): what is small is read faster than unpacked under software emulation.
std::string write_cpio(const std::vector<CpioEntry>& entries);

/// The initrd for the kernel that `root` (an unpacked system with busybox-static) holds; /init is
/// `script`, and /modules/order lists the files in /modules in the order to load them.
Result<std::string> make_initrd(const std::filesystem::path& root, std::string_view script,
                                const std::vector<std::string>& modules);

/// What a direct boot needs besides its /init, which the caller puts behind it in an archive of its own (the kernel unpacks
/// one after the other): /modules with the modules of `root`'s kernel, and /modules/order, which lists the files in it in
/// the order to load them, one a line. What the distribution compressed is unpacked: insmod takes every file as it is.
Result<std::string> make_direct_archive(const std::filesystem::path& root,
                                        const std::vector<std::string>& modules);

/// The release of the only kernel in `root` ("6.1.0-56-cloud-amd64").
Result<std::string> kernel_release(const std::filesystem::path& root);

}  // namespace pinhole::image
