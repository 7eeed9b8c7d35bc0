// Scenes as SVG documents, as pieces of a web page, and as plain text for tests.
//
// Colours are classes: a document or a page carries both themes and follows the reader's preference. Boxes of one paint
// without tooltip or item that stand next to each other in a scene become one path, which takes a third of the bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "viz/scene/scene.h"

namespace espalier::viz {

/// Characters that mean something to XML as references; control characters that XML forbids and bytes that aren't UTF-8
/// as U+FFFD.
std::string escape_xml(std::string_view text);

/// Rules of the classes that shapes use: `.p3{fill:…}`, `.s3{stroke:…}`. Without a theme: light, and dark where the
/// reader prefers it.
std::string palette_css(std::optional<Theme> theme);

/// A document of its own.
std::string svg_document(const Scene& scene, std::optional<Theme> theme);

/// For a page that has palette_css() and fragment_css(): boxes stretch to the width there is, text keeps its size.
std::string html_fragment(const Scene& scene);
std::string fragment_css();

/// One line a shape.
std::string dump(const Scene& scene);

}  // namespace espalier::viz
