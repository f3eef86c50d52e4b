// Before anything is drawn: the theme that was chosen; without one it is the system's.
{
	let theme = null;
	try {
		theme = localStorage.getItem("caravan.theme");
	} catch {} // storage is off
	if (theme) document.documentElement.dataset.theme = theme;
}
