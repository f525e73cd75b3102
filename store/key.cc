#include "store/key.h"

namespace crashgate {

std::string_view take_component(std::string_view& path) {
  const auto slash = path.find('/');
  const auto component = path.substr(0, slash);
  path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
  return component;
}

bool is_valid_key(std::string_view key) {
  if (key.empty() || key.size() > kMaxKeyBytes) return false;
  if (key.find('\0') != std::string_view::npos || key.back() == '/') return false;
  auto rest = key;
  if (const auto first = rest.substr(0, rest.find('/')); first == kReservedComponent) return false;
  while (!rest.empty()) {
    const auto component = take_component(rest);
    if (component.empty() || component.size() > kMaxComponentBytes) return false;
    if (component == "." || component == "..") return false;
  }
  return true;
}

Result<KeyParts> parse_key(std::string_view key) {
  if (!is_valid_key(key)) {
    return tl::unexpected(Error{ErrorCode::kInvalidKey, 0, "key", std::string(key)});
  }
  const auto slash = key.rfind('/');
  if (slash == std::string_view::npos) return KeyParts{{}, std::string(key)};
  return KeyParts{key.substr(0, slash), std::string(key.substr(slash + 1))};
}

}  // namespace crashgate
