// SPDX-License-Identifier: Apache-2.0
#include "image/guest_authority.h"

#include <cstdint>

#include <fmt/format.h>

#include "base/check.h"

namespace pinhole::image {
namespace {

// No base64 line begins with "--".
constexpr std::string_view kBoundary = "pinhole-part";
// The certificate ends where a line says this.
constexpr std::string_view kEnd = "PINHOLE-END";

/// update-ca-certificates would take half a minute under software emulation: one certificate is
/// added by hand to what it has made, and stands where the next run of it looks.
constexpr std::string_view kHook = R"sh(#cloud-boothook
#!/bin/sh
# Pinhole: the door of this machine looks into TLS in the name of this authority, which exists for
# this machine alone. Runs at every boot, changes something once.
set -u
umask 022
anchor=/usr/local/share/ca-certificates/pinhole.crt
bundle=/etc/ssl/certs/ca-certificates.crt
mkdir -p "${{anchor%/*}}" /etc/ssl/certs
cat > "$anchor.new" <<'{end}'
{certificate}{end}
if cmp -s "$anchor.new" "$anchor"; then
  rm -f "$anchor.new"
  exit 0
fi
if [ -e "$bundle" ] && ! grep -qxF "$(sed -n 2p "$anchor.new")" "$bundle"; then
  cat "$anchor.new" >> "$bundle"
fi
if hash=$(openssl x509 -noout -subject_hash -in "$anchor.new" 2>/dev/null); then
  ln -sf "$anchor" "/etc/ssl/certs/$hash.0"
fi
if [ -d /etc/pki/ca-trust/source/anchors ]; then
  cp "$anchor.new" /etc/pki/ca-trust/source/anchors/pinhole.crt
  update-ca-trust
fi
mv "$anchor.new" "$anchor"
)sh";

std::string base64_lines(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::size_t kBytesOfLine = 57;  // 76 characters, RFC 2045 §6.8
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    if ((i + 3) % kBytesOfLine == 0) text += '\n';
  }
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

std::string part(std::string_view type, std::string_view content) {
  return fmt::format(
      "--{}\nContent-Type: {}; charset=\"utf-8\"\nMIME-Version: 1.0\n"
      "Content-Transfer-Encoding: base64\n\n{}\n",
      kBoundary, type, base64_lines(content));
}

}  // namespace

std::string authority_hook(std::string_view certificate_pem) {
  PINHOLE_CHECK(certificate_pem.ends_with('\n') && !certificate_pem.contains(kEnd));
  return fmt::format(fmt::runtime(kHook), fmt::arg("end", kEnd),
                     fmt::arg("certificate", certificate_pem));
}

std::string with_hooks(std::string_view user_data, const std::vector<std::string>& hooks) {
  if (hooks.empty()) return std::string(user_data);
  const std::string_view type =
      user_data.starts_with("#!") ? "text/x-shellscript" : "text/cloud-config";
  std::string out = fmt::format(
      "Content-Type: multipart/mixed; boundary=\"{}\"\nMIME-Version: 1.0\n\n", kBoundary);
  for (const std::string& hook : hooks) out += part("text/cloud-boothook", hook);
  return out + part(type, user_data) + fmt::format("--{}--\n", kBoundary);
}

std::string with_authority(std::string_view user_data, std::string_view certificate_pem) {
  return with_hooks(user_data, {authority_hook(certificate_pem)});
}

}  // namespace pinhole::image
