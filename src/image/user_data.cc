// SPDX-License-Identifier: Apache-2.0
#include "image/user_data.h"

#include <algorithm>
#include <array>

#include "base/printable.h"
#include "base/strings.h"
#include "failures/seeds.h"
#include "yaml/yaml.h"

namespace pinhole::image {
namespace {

// The top-level keys of cloud-init 22.4 to 24.4: its modules' keys (config/schemas/
// schema-cloud-config-v1.json) and those that control cloud-init itself.
constexpr auto kKnownKeys = std::to_array<std::string_view>({
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "apt_pipelining",
    "apt_preserve_sources_list",
    "apt_reboot_if_required",
    "apt_update",
    "apt_upgrade",
    "authkey_hash",
    "autoinstall",
    "bootcmd",
    "byobu_by_default",
    "ca-certs",
    "ca_certs",
    "chef",
    "chpasswd",
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "create_hostname_file",
    "datasource",
    "datasource_list",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "fan",
    "final_message",
    "fqdn",
    "fs_setup",
    "groups",
    "growpart",
    "grub-dpkg",
    "grub_dpkg",
    "hostname",
    "keyboard",
    "landscape",
    "launch-index",
    "locale",
    "locale_configfile",
    "lxd",
    "manage-resolv-conf",
    "manage_etc_hosts",
    "manage_resolv_conf",
    "mcollective",
    "merge_how",
    "merge_type",
    "migrate",
    "mount_default_fields",
    "mounts",
    "network",
    "no_ssh_fingerprints",
    "ntp",
    "output",
    "package_reboot_if_required",
    "package_update",
    "package_upgrade",
    "packages",
    "password",
    "phone_home",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "puppet",
    "random_seed",
    "reporting",
    "resize_rootfs",
    "resolv_conf",
    "rh_subscription",
    "rpi",
    "rsyslog",
    "runcmd",
    "salt_minion",
    "snap",
    "spacewalk",
    "ssh",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_fp_console_blacklist",
    "ssh_genkeytypes",
    "ssh_import_id",
    "ssh_key_console_blacklist",
    "ssh_keys",
    "ssh_publish_hostkeys",
    "ssh_pwauth",
    "ssh_quiet_keygen",
    "swap",
    "syslog_fix_perms",
    "system_info",
    "timezone",
    "ubuntu_advantage",
    "updates",
    "user",
    "users",
    "vendor_data",
    "version",
    "wireguard",
    "write_files",
    "yum_repo_dir",
    "yum_repos",
    "zypper",
});

constexpr std::string_view kHeader = "#cloud-config";

std::string_view first_line(std::string_view text) { return trim(text.substr(0, text.find('\n'))); }

Error wrong_header(std::string_view text, std::string_view source) {
  const std::string_view line = first_line(text);
  Error error = told(failures::kUserDataWithoutHeader, {{"file", printable(source)}})
                    .with_detail(fmt::format("its first line is \"{}\"", printable(line, 80)));
  if (to_lower(line).starts_with("# cloud-config") || to_lower(line).starts_with(kHeader)) {
    error.fix = "write the first line exactly as #cloud-config";
  }
  return error;
}

Result<Notes> check_keys(const yaml::Document& document) {
  Notes notes;
  for (const yaml::Node& value : document.root.items) {
    if (std::ranges::find(kKnownKeys, value.key) != kKnownKeys.end()) continue;
    if (const auto meant = closest(value.key, kKnownKeys)) {
      const Error known = told(failures::kUserDataUnknownKey, {{"key", printable(value.key)}});
      Error error = yaml::error_at(document, value.key_mark, known.message, *meant);
      error.code = known.code;
      return fail(std::move(error));
    }
    notes.push_back(fmt::format("{}:{}: cloud-init ignores the key \"{}\"", document.source,
                                value.key_mark.line, printable(value.key, 80)));
  }
  return notes;
}

Result<Notes> check_cloud_config(std::string_view text, std::string_view source) {
  const yaml::Limits limits{.bytes = kMaxUserData, .scalar_bytes = kMaxUserData};
  PINHOLE_TRY(const yaml::Document document, yaml::parse(text, source, limits));
  if (document.root.kind == yaml::Node::Kind::null) {
    return Notes{fmt::format("{}: nothing stands below #cloud-config", printable(source))};
  }
  if (document.root.kind != yaml::Node::Kind::mapping) {
    return fail(yaml::error_at(document, document.root.mark,
                               fmt::format("user-data must be a mapping (key: value), found {}",
                                           yaml::describe(document.root))));
  }
  return check_keys(document);
}

}  // namespace

Result<Notes> check_user_data(std::string_view text, std::string_view source) {
  if (text.size() > kMaxUserData) {
    return fail(told(failures::kUserDataTooLarge, {{"file", printable(source)},
                                                   {"size", format_size(text.size())},
                                                   {"most", format_size(kMaxUserData)}}));
  }
  if (trim(text).empty()) {
    return fail(told(failures::kUserDataEmpty, {{"file", printable(source)}}));
  }
  if (text.starts_with("#!")) return Notes{};
  if (first_line(text) != kHeader || !text.starts_with(kHeader)) {
    return fail(wrong_header(text, source));
  }
  return check_cloud_config(text, source);
}

}  // namespace pinhole::image
