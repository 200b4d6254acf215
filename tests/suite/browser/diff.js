window.addEventListener("load", function () { setTimeout(function () {
    var seen = [];
    try {
        var by = function (id) { return document.getElementById(id); };
        seen.push(by("views").hidden);
        by("profile").selectedIndex = Array.from(by("profile").options).findIndex(function (one) { return one.text === "heap"; });
        by("profile").dispatchEvent(new Event("change"));
        ["more", "less", "new", "old"].forEach(function (view) {
            by("view").value = view;
            by("view").dispatchEvent(new Event("change"));
            seen.push(by("shown").textContent.split(",")[0]);
        });
    } catch (error) { seen.push("error: " + error); }
    document.body.append("SEEN " + JSON.stringify(seen) + " END");
}, 0); });
