// A small check that text is well-formed XML: tags balance, attributes are quoted and unique, references are known.
#pragma once

#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::viz {

/// Empty when well-formed, else what is wrong. Comments and doctypes aren't expected and count as wrong.
inline std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  bool root_seen = false;
  const auto reference_ok = [](std::string_view s) {
    for (const char* name : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}) {
      if (s.starts_with(name)) return true;
    }
    return false;
  };
  std::size_t i = text.starts_with("<?xml") ? text.find("?>") + 2 : 0;
  while (i < text.size()) {
    if (text[i] == '&' && !reference_ok(text.substr(i))) return "a bare &";
    if (static_cast<unsigned char>(text[i]) < 0x20 && text[i] != '\n' && text[i] != '\t') return "a control character";
    if (text[i] != '<') {
      if (open.empty() && text[i] != '\n') return "text outside the root";
      ++i;
      continue;
    }
    const bool closing = i + 1 < text.size() && text[i + 1] == '/';
    std::size_t at = i + (closing ? 2 : 1);
    std::string name;
    while (at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) != 0)) name += text[at++];
    if (name.empty()) return "a bare <";
    if (closing) {
      if (open.empty() || open.back() != name) return "unbalanced </" + name + ">";
      open.pop_back();
      if (at >= text.size() || text[at] != '>') return "an odd end tag";
      i = at + 1;
      continue;
    }
    std::set<std::string> attributes;
    while (at < text.size() && text[at] == ' ') {
      std::string attribute;
      for (++at; at < text.size() && text[at] != '='; ++at) attribute += text[at];
      if (attribute.find_first_of(" <>\"'") != std::string::npos) return "an odd attribute " + attribute;
      if (!attributes.insert(attribute).second) return "attribute twice: " + attribute;
      if (at + 1 >= text.size() || text[at + 1] != '"') return "an unquoted attribute " + attribute;
      for (at += 2; at < text.size() && text[at] != '"'; ++at) {
        if (text[at] == '<' || (text[at] == '&' && !reference_ok(text.substr(at)))) {
          return "a raw character in " + attribute;
        }
      }
      ++at;
    }
    const bool empty = at < text.size() && text[at] == '/';
    at += empty ? 1 : 0;
    if (at >= text.size() || text[at] != '>') return "an odd tag " + name;
    if (open.empty() && root_seen) return "a second root";
    root_seen = true;
    if (!empty) open.push_back(name);
    i = at + 1;
  }
  if (!open.empty()) return "unclosed " + open.back();
  return root_seen ? "" : "no element";
}

}  // namespace espalier::viz
