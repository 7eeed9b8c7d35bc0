#include <gtest/gtest.h>

#include <cmath>

#include "viz/picture/drawing.h"
#include "viz/picture/pictures.h"
#include "viz/scene/scene_sink.h"
#include "viz/scene/svg.h"
#include "viz_samples.h"
#include "xml_check.h"

namespace espalier::viz {
namespace {

sim::Explanation explained(const scheduler::Plan& plan) {
  sim::SimOptions options;
  options.timeline = true;
  return sim::explain(plan, costmodel::find_device("h100-sxm"), options);
}

TEST(Scene, DumpOfASmallForestIsThis) {
  PictureSize size{200, 100};
  size.axes = false;
  EXPECT_EQ(dump(forest_picture(traces::parse_tree("1,2|60,40"), 1024, size)),
            "scene 200 x 100 Prefix forest: 2 requests across, 100 tokens down\n"
            "rect 0 0 200 100 paint 2\n"
            "rect 0.5 0.5 199 59 paint 14 node 0 'node 0: 60 tokens (60.0 KiB), requests 0–1; reading it once saves "
            "60.0 KiB'\n"
            "text 100 34 size 11 paint 1 '60 tokens'\n"
            "rect 0.5 60.5 99 39 paint 8 node 1 'node 1: 40 tokens (40.0 KiB), request 0; not shared'\n"
            "text 50 84 size 11 paint 3 '40 tokens'\n"
            "rect 100.5 60.5 99 39 paint 8 node 2 'node 2: 40 tokens (40.0 KiB), request 1; not shared'\n"
            "text 150 84 size 11 paint 3 '40 tokens'\n");
}

TEST(Svg, PlainBoxesOfOnePaintBecomeOnePath) {
  Scene scene{10, 10, "t", {}};
  scene.shapes = {Rect{0, 0, 1, 1, Paint::hbm}, Rect{2, 0, 1.5, 1, Paint::hbm}, Rect{4, 0, 1, 1, Paint::l2}};
  const std::string svg = html_fragment(scene);
  EXPECT_NE(svg.find("d=\"M0 0h1v1h-1zM2 0h1.5v1h-1.5z\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("d=\"M4 0h1v1h-1z\""), std::string::npos) << svg;
}

TEST(Svg, LabelsBesideAnEdgeStayInsideHoweverNarrowAPieceBecomes) {
  Scene scene{960, 20, "t", {}};
  scene.shapes = {Text{480, 10, "2,048", Paint::muted, 11, Anchor::middle},
                  Text{930, 10, "4,096", Paint::muted, 11, Anchor::middle}};
  const std::string svg = html_fragment(scene);
  EXPECT_NE(svg.find("left:50%;"), std::string::npos) << svg;
  EXPECT_NE(svg.find("left:clamp(16px,96.88%,calc(100% - 16px));"), std::string::npos) << svg;
}

TEST(Svg, NumbersHaveTwoDecimalsAtMost) {
  const auto text = [](double value) {
    std::string out;
    append_number(out, value);
    return out;
  };
  EXPECT_EQ(text(0), "0");
  EXPECT_EQ(text(-0.001), "0");
  EXPECT_EQ(text(1.5), "1.5");
  EXPECT_EQ(text(-2.345), "-2.35");
  EXPECT_EQ(text(1234567.05), "1234567.05");
  EXPECT_EQ(text(std::nan("")), "0");
}

TEST(Svg, HostileNamesAreText) {
  EXPECT_EQ(escape_xml("<script>a && 'b' \"c\"</script>"),
            "&lt;script&gt;a &amp;&amp; &#39;b&#39; &quot;c&quot;&lt;/script&gt;");
  EXPECT_EQ(escape_xml(std::string("a\0b\x1b[1m", 7)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD[1m");
  EXPECT_EQ(escape_xml("\xff\xc3\xa9\xed\xa0\x80\xf0\x9f\x98\x80\xc3"),
            "\xEF\xBF\xBD\xc3\xa9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xf0\x9f\x98\x80\xEF\xBF\xBD");
  traces::PrefixForest forest = traces::parse_tree("1,2|60,40");
  forest.name = "</title><script>alert(1)</script>\x01";
  const std::string svg = svg_document(forest_document(forest, {}), std::nullopt);
  EXPECT_EQ(svg.find("<script"), std::string::npos);
  EXPECT_EQ(xml_fault(svg), "");
}

TEST(Svg, DocumentsAreWellFormedForEveryStrategy) {
  for (const auto* strategy : scheduler::strategies()) {
    const auto forest = traces::parse_tree("1,3,12|1000,300,50");
    const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
    scheduler::PlanRequest request{forest, {}, device, scheduler::KernelSet::ours, {}, {}, 1};
    const auto result = scheduler::make_plan(scheduler::parse_strategy(strategy->info().name), request);
    const auto* plan = std::get_if<scheduler::Plan>(&result);
    if (plan == nullptr) continue;
    const sim::Explanation explanation = explained(*plan);
    const std::string svg = svg_document(plan_document(*plan, device, explanation), Theme::dark);
    EXPECT_EQ(xml_fault(svg), "") << strategy->info().name;
    EXPECT_EQ(svg, svg_document(plan_document(*plan, device, explanation), Theme::dark)) << strategy->info().name;
  }
}

TEST(Svg, FaultsAreFoundByTheChecker) {
  EXPECT_EQ(xml_fault("<a x=\"1\"><b/></a>\n"), "");
  for (const char* wrong :
       {"<a>", "<a></b>", "<a x=1/>", "<a x=\"1\" x=\"2\"/>", "<a>&</a>", "<a/><b/>", "x<a/>", "<a x=\"<\"/>"}) {
    EXPECT_NE(xml_fault(wrong), "") << wrong;
  }
}

TEST(Picture, NothingIsDrawnOutsideTheDocument) {
  for (const char* strategy : {"espalier", "flash_decoding", "cascade", "chunk_attention"}) {
    const scheduler::Plan plan = plan_of(strategy, "1,3,40|3000,300,50");
    const Scene scene = plan_document(plan, costmodel::find_device("h100-sxm"), explained(plan));
    for (const Shape& shape : scene.shapes) {
      if (const auto* rect = std::get_if<Rect>(&shape)) {
        EXPECT_GE(rect->x, -0.01);
        EXPECT_LE(rect->x + rect->w, scene.width + 0.01) << rect->title;
        EXPECT_GE(rect->y, -0.01);
        EXPECT_LE(rect->y + rect->h, scene.height + 0.01) << rect->title;
      }
      if (const auto* text = std::get_if<Text>(&shape)) {
        const double w = text_width(text->text, text->size);
        const double left = text->x - (text->anchor == Anchor::start ? 0 : text->anchor == Anchor::middle ? w / 2 : w);
        EXPECT_GE(left, -0.01) << text->text;
        EXPECT_LE(left + w, scene.width + 0.01) << text->text;
      }
    }
  }
}

TEST(Picture, LongNamesAreCutToFit) {
  EXPECT_EQ(fitted("short", 12, 100), "short");
  const std::string cut = fitted(std::string(500, 'x'), 12, 100);
  EXPECT_LE(text_width(cut, 12), 100);
  EXPECT_TRUE(cut.ends_with("…"));
  EXPECT_EQ(fitted("éééééééééé", 10, 30), "ééé…");
}

TEST(Palette, StepsGrowInContrastToThePage) {
  const auto lightness = [](Rgb c) {
    return 0.2126 * std::pow(c.r / 255.0, 2.2) + 0.7152 * std::pow(c.g / 255.0, 2.2) +
           0.0722 * std::pow(c.b / 255.0, 2.2);
  };
  const auto contrast = [&](Rgb a, Rgb b) {
    const double x = lightness(a) + 0.05, y = lightness(b) + 0.05;
    return x > y ? x / y : y / x;
  };
  for (const Theme theme : {Theme::light, Theme::dark}) {
    const Rgb page = colour_of(Paint::page, theme);
    for (int i = 2; i < kSteps; ++i) {
      EXPECT_GT(contrast(colour_of(step_paint(i), theme), page),
                1.1 * contrast(colour_of(step_paint(i - 1), theme), page))
          << i;
    }
    EXPECT_GT(contrast(colour_of(Paint::ink, theme), page), 7);
    EXPECT_GT(contrast(colour_of(Paint::muted, theme), page), 4.5);
    for (int i = static_cast<int>(Paint::step0); i < kPaints; ++i) {  // large text on boxes
      const auto fill = static_cast<Paint>(i);
      EXPECT_GT(contrast(colour_of(text_on(fill), theme), colour_of(fill, theme)), 3)
          << i << (theme == Theme::dark ? " dark" : " light");
    }
  }
}

}  // namespace
}  // namespace espalier::viz
