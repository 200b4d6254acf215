window.addEventListener("load", function () { setTimeout(function () {
    var seen = [];
    try {
        var by = function (id) { return document.getElementById(id); };
        var named = function (name) {
            return Array.from(by("flames").children).find(function (one) { return one.node.name === name; });
        };
        var choose = function (id, value) { by(id).value = value; by(id).dispatchEvent(new Event("change")); };
        var width = function () { return Math.round(100 * named("site_malloc").offsetWidth / by("flames").clientWidth); };
        var small = width();
        seen.push(small > 0 && small < 100, by("reset").hidden);
        named("site_malloc").click();
        seen.push(width(), by("reset").hidden, by("frame").textContent.startsWith("site_malloc: "));
        by("reset").click();
        seen.push(width() === small, by("reset").hidden);
        by("search").value = "SITE_malloc";
        by("search").dispatchEvent(new Event("input"));
        seen.push(named("site_malloc").classList.contains("hit"), named("main").classList.contains("miss"));
        seen.push(document.querySelectorAll("#report .hit").length > 1, parseInt(by("hits").textContent) > 1);
        by("search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
        seen.push(document.querySelectorAll("#report .now").length);
        by("search").value = "no such text";
        by("search").dispatchEvent(new Event("input"));
        seen.push(document.querySelectorAll("#report .hit").length, by("hits").textContent);
        choose("value", "0");
        seen.push(by("shown").textContent.split(" ")[1]);
        choose("profile", String(by("profile").options.length - 1));
        seen.push(by("shown").textContent !== "", by("views").hidden);
    } catch (error) { seen.push("error: " + error); }
    document.body.append("SEEN " + JSON.stringify(seen) + " END");
}, 0); });
